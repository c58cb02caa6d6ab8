# SPDX-License-Identifier: BSD-2-Clause
"""Linux's figures of tools/bench: what booting under Rootlet costs against the bare machine, and what an idle Linux
costs.

The bare machine is the same Bochs with the same kernel, initrd and command line, booted by GRUB. Its ticks are counted
from the kernel's entry, where the debugger stops, to the power-off with which the initrd's init begins.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import engine
import machine

TREE = machine.TREE
KERNEL = "build/payloads/vmlinuz-cloud"
WORDS = "console=ttyS0 quiet"
MEGABYTES = 512
IPS = 50_000_000  # Bochs's instructions a second, which tools/run-bochs sets too: ticks of a TSC second
LIMIT_SECONDS = 900
PREFERRED_ADDRESS = 0x258  # in the setup header: where the kernel is unpacked, and entered by GRUB's 32-bit entry
IDLE_SECONDS = 20  # more than the same boot without
MAX_SLOWER_PERCENT = 2.0  # 0.98 of bare speed
MAX_IDLE_EXITS = 300.0

BOCHSRC = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=1
config_interface: textconfig
display_library: rfb, options="timeout=0"
megs: {megs}
romimage: file=$BXSHARE/BIOS-bochs-latest, options=fastboot
vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=boot.iso, status=inserted
log: bochs.log
panic: action=fatal
error: action=report
info: action=report
cpu: model=corei7_skylake_x, count=1, ips={ips}, reset_on_triple_fault=0
clock: sync=none, time0=local
com1: enabled=1, mode=file, dev=serial.log
"""
GRUB = f"""\
set timeout=0
menuentry linux {{
    linux /boot/vmlinuz {WORDS}
    initrd /boot/initrd.gz
}}
"""


def run(command, **keys):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **keys)


def make_initrd(path):
    run([f"{TREE}/tools/mkinitrd", f"{TREE}/build/payloads/busybox", f"{TREE}/guests/linux/init-bench", path])


def native_ticks(initrd):
    """From the kernel's entry to the power-off on the bare machine, or None with the reason on stderr."""
    with tempfile.TemporaryDirectory(prefix="rootlet-bench.") as folder:
        boot = os.path.join(folder, "iso/boot")
        os.makedirs(os.path.join(boot, "grub"))
        shutil.copyfile(os.path.join(TREE, KERNEL), os.path.join(boot, "vmlinuz"))
        shutil.copyfile(initrd, os.path.join(boot, "initrd.gz"))
        with open(os.path.join(TREE, KERNEL), "rb") as file:
            file.seek(PREFERRED_ADDRESS)
            entry = int.from_bytes(file.read(8), "little")
        for name, text in (("iso/boot/grub/grub.cfg", GRUB), ("bochsrc.txt", BOCHSRC.format(megs=MEGABYTES, ips=IPS)),
                           ("rc.dbg", f"pb {entry:#x}\nc\nptime\nc\nq\n")):
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(text)
        run(["grub-mkrescue", "-o", f"{folder}/boot.iso", f"{folder}/iso"])
        bochs = [engine.program(engine.chosen()), *engine.debugger_flags(engine.chosen())]
        result = subprocess.run(["timeout", str(LIMIT_SECONDS), *bochs, "-q", "-f", "bochsrc.txt", "-rc", "rc.dbg"],
                                cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                check=False)
        with open(os.path.join(folder, "bochs.log"), encoding="utf-8", errors="replace") as file:
            log = file.read()
    begin = re.search(r"ptime: (\d+)", result.stdout)
    end = re.search(r"^(\d+)p\[ACPI.*soft power off", log, re.MULTILINE)
    if not begin or not end:
        print(f"bench: the bare machine did not get to its power-off\n{log[-2000:]}", file=sys.stderr)
        return None
    return int(end.group(1)) - int(begin.group(1))


def guest_stats(initrd, boot, words=""):
    """The statistics of the VM, alone on one CPU; None if the run failed."""
    lines = f"{KERNEL} vm=linux mem={MEGABYTES}M -- {WORDS} {words}\n{initrd} vm=linux role=initrd\n"
    stats = boot(lines, memory=MEGABYTES + 256, limit=LIMIT_SECONDS).events("vm stats", name="linux")
    return {key: int(value) for key, value in stats[0].items() if value.isdigit()} if stats else None


def measure(table, boot):
    run([f"{TREE}/tools/fetch-payloads", "linux"])
    with tempfile.TemporaryDirectory(prefix="rootlet-bench.") as folder:
        initrd = os.path.join(folder, "initrd.gz")
        make_initrd(initrd)
        native, busy = native_ticks(initrd), guest_stats(initrd, boot)
        guest = busy["wall_us"] * (IPS // 1_000_000) if busy else None
        slower = 100.0 * (1.0 - native / guest) if native and guest else None
        note = ""
        if slower is not None:
            note = f"{native / guest:.4f} of bare speed: {native:,} and {guest:,} ticks; KVM: 7"
        table.row("Linux from kernel entry to init: slower than the bare machine", slower, "percent",
                  MAX_SLOWER_PERCENT, note)
        idle = guest_stats(initrd, boot, f"rest={IDLE_SECONDS}")
        rested = busy and idle and idle["wall_us"] - busy["wall_us"] >= 0.9 * IDLE_SECONDS * 1e6
        exits = (idle["exits"] - busy["exits"]) / IDLE_SECONDS if rested else None
        table.row("an idle Linux guest: exits a second", exits, "exits", MAX_IDLE_EXITS)
