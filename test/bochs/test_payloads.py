# SPDX-License-Identifier: BSD-2-Clause
"""Kernels that nobody here wrote, as they come from Debian's archive, alone and all at once; and kernels that are
refused."""
import os
import re
import subprocess

import pytest

import machine
import vms
from test_linux import check_linux, linux, unpack_vmlinux

PAYLOADS = "build/payloads"
LONG_MS = 10_000


@pytest.fixture(scope="module")
def alone(boot):
    lines = (
        f"{PAYLOADS}/memtest86+ia32.bin vm=mem32 mem=32M limit=10000 dump=screen -- nosmp console=ttyS0\n"
        f"{PAYLOADS}/memtest86+x64.bin vm=mem64 mem=24M limit=10000 -- console=ttyS0\n"
        f"{PAYLOADS}/gnumach.elf vm=mach mem=64M limit=3000 -- console=com0\n"
        f"{PAYLOADS}/multiboot-kernel vm=example mem=16M dump=screen -- some words\n"
    )
    return boot("".join(line for line in lines.splitlines(True) if not machine.missing(line.split()[0])), limit=1800)


def serial_text(run, name):
    """What it wrote to its serial console. It positions each text by escape sequences, whose first byte arrives as a
    question mark."""
    return re.sub(r"\?\[[0-9;?]*[A-Za-z]", "", "".join(run.output(name)))


def check_memtest(text, serial, mib):
    """It tests, finds no error, and its memory is the VM's: all but the 384 KiB below 1 MiB that are no RAM on a PC.

    `serial` shows the ranges that it was at once a second, a screen (`text`) the one that it was at when the VM ended.
    """
    assert "Memtest86+" in text and "Errors: 0" in text and not re.search(r"Errors: [1-9]", text), text
    assert re.search(rf"Memory  :\s+{mib}MB", text), text
    assert re.search(r"Status: Testing", text), text
    ends = {int(end) for end in re.findall(r"(?:Test)?ing: \d+[KM]B - (\d+)MB", serial)}
    assert ends and max(ends) == mib, serial
    assert set(re.findall(r"of (\d+\.\d)MB\]", text)) == {f"{int((mib - 0.375) * 10) / 10}"}, text


def test_memtest_ia32_on_the_screen(alone):
    machine.need(f"{PAYLOADS}/memtest86+ia32.bin")
    alone.check_good_end()
    assert alone.event("vm start", name="mem32")["kind"] == "linux"
    check_memtest("\n".join(alone.screen("mem32")), serial_text(alone, "mem32"), 32)


def test_memtest_x64_on_the_serial_console(alone):
    machine.need(f"{PAYLOADS}/memtest86+x64.bin")
    check_memtest(serial_text(alone, "mem64"), serial_text(alone, "mem64"), 24)


def test_gnumach_banner(alone):
    """It has no servers to start here, says so, and stops."""
    machine.need(f"{PAYLOADS}/gnumach.elf")
    output = "\n".join(alone.output("mach"))
    assert re.search(r"GNU Mach 1\.8", output), output
    assert "0000000000100000:000000000004000000, available" in output, output
    assert "No bootstrap code loaded with the kernel" in output, output


def test_gnumach_runs_a_task(boot, tmp_path):
    """The 32-bit kernel probes the hardware, by ports and the clock's interrupts, and starts the task of its module."""
    machine.need(f"{PAYLOADS}/gnumach32.elf")
    source = os.path.join(machine.TREE, "test/bochs/mach_task.asm")
    subprocess.run(["nasm", "-f", "elf32", source, "-o", tmp_path / "task.o"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-o", tmp_path / "task.elf", tmp_path / "task.o"], check=True)
    run = boot(f"{PAYLOADS}/gnumach32.elf vm=mach mem=64M limit=16000 -- console=com0\n"
               f"{tmp_path}/task.elf vm=mach role=module -- task.elf $(task-create) $(task-resume)\n")
    run.check_good_end()
    output = "\n".join(run.output("mach"))
    assert re.search(r"GNU Mach 1\.8", output), output
    assert "Probing PCI hardware" in output and "scsi : 0 hosts" in output, output
    assert "start task.elf: hello from a task of Mach" in output, output


def test_multiboot_example(alone):
    """It prints what the loader told it, then draws a diagonal of backslashes through the text framebuffer it was
    given."""
    machine.need(f"{PAYLOADS}/multiboot-kernel")
    assert alone.event("vm start", name="example")["kind"] == "multiboot"
    assert alone.event("vm stop", name="example")["reason"] == "halt"
    rows = [line[1:] for line in alone.output("example") if line.startswith("|")]
    screen = "\n".join(rows)
    assert [row[column] for column, row in enumerate(rows)] == ["\\"] * 25, screen
    assert "mem_upper = 15360KB" in screen and "line = some words" in screen, screen
    assert re.search(r"base_addr = 0x0*100000, length = 0x0*f00000, type = 0x1", screen), screen


def test_xen_with_linux_in_dom0(boot, tmp_path_factory):
    """Xen takes the machine, with both CPUs, and builds a paravirtual domain of Debian's kernel, which powers it off.

    That kernel fills a table of 128 Mi entries before it says anything more: 30 s of its time.
    """
    machine.need(f"{PAYLOADS}/xen.elf")
    vmlinux = tmp_path_factory.mktemp("dom0") / "vmlinux"
    unpack_vmlinux(vmlinux)
    run = boot(
        f"{PAYLOADS}/xen.elf vm=xen mem=420M cpus=2 limit=400000 "
        "-- xen console=com1 com1=115200,8n1,0x3f8,0 loglvl=all noreboot dom0_mem=256M dom0_max_vcpus=1\n"
        f"{vmlinux} vm=xen role=module -- vmlinux console=hvc0 earlyprintk=xen panic=1 cryptomgr.notests\n"
        f"{PAYLOADS}/initrd.gz vm=xen role=module\n", cpus=2, memory=768, limit=3600)
    run.check_good_end()
    assert run.event("vm start", name="xen")["kind"] == "multiboot2"
    output = "\n".join(run.output("xen"))
    hz = (int(run.event("tsc")["hz"]) + 500) // 1000 * 1000  # as CPUID leaf 15H has it
    for words in (r"\(XEN\) ACPI: RSDP 000E0000", r"\(XEN\) found SMP MP-table at 000f0000",
                  r"\(XEN\) SMBIOS 3\.0 present", rf"\(XEN\) CPU0: TSC: {hz} Hz \* 1 / 1 = {hz} Hz",
                  r"\(XEN\) Brought up 2 CPUs", r"\(XEN\) \*\*\* Building a PV Dom0 \*\*\*",
                  r"Hypervisor detected: Xen PV", r"DMI: Rootlet xen", r"init: kernel=",
                  r"init: dmi vendor=Rootlet product=xen"):
        assert re.search(words, output), f"no {words} in:\n{output}"
    assert run.event("vm stop", name="xen")["reason"] == "poweroff", str(run)


SMALL = f"""\
build/guests/compute.elf vm=sum1 mem=4M -- seed=1 ms={LONG_MS}
build/guests/compute.elf vm=sum2 mem=4M -- seed=2 ms={LONG_MS}
build/guests/timer.elf   vm=timer mem=4M -- ticks={LONG_MS}
build/guests/smp.elf     vm=smp mem=4M cpus=2
"""


@pytest.fixture(scope="module")
def together(boot, tmp_path_factory):
    """Of the limits, which are of CPU time, each VM gets a third or less of a CPU: all run for LONG_MS and more."""
    vmlinux = tmp_path_factory.mktemp("kernel") / "vmlinux"
    unpack_vmlinux(vmlinux)
    return boot(
        linux("cloud", 2, 128, words="busy") + linux("standard", 2, 160, vmlinux, keys="kind=pvh", words="busy") + SMALL
        + f"{PAYLOADS}/memtest86+x64.bin vm=memtest mem=64M limit=10000 dump=screen -- console=ttyS0\n"
        + f"{PAYLOADS}/invaders.exec vm=invaders mem=8M limit=6000 dump=screen\n",
        cpus=2, memory=768, limit=3600,
    )


def test_together_each_linux_is_right(together):
    together.check_good_end()
    check_linux(together, "cloud", 2, 128)
    check_linux(together, "standard", 2, 160)
    assert (together.event("vm start", name="cloud")["kind"],
            together.event("vm start", name="standard")["kind"]) == ("linux", "pvh")
    releases = {name: next(line for line in together.output(name) if line.startswith("init: kernel="))
                for name in ("cloud", "standard")}
    assert "-cloud-amd64 " in releases["cloud"] and "-cloud-" not in releases["standard"], releases


def test_together_the_others_are_right(together):
    vms.check_guests(together, SMALL)
    check_memtest("\n".join(together.screen("memtest")), serial_text(together, "memtest"), 64)
    vms.check_guest(together, "invaders", "invaders.exec")
    assert "\n".join(together.screen("invaders")).count("-*-") >= 20, str(together)


def test_together_long_enough(together):
    for name in ("cloud", "standard", "memtest", "invaders", "sum1", "sum2", "timer"):
        assert int(together.event("vm stats", name=name)["wall_us"]) >= 1000 * LONG_MS, str(together)


# ---- what cannot be booted is refused with the figure that is missing ----


@pytest.fixture(scope="module")
def refusals(boot, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    with open(os.path.join(machine.TREE, PAYLOADS, "memtest86+x64.bin"), "rb") as file:
        kernel = bytearray(file.read())
    (folder / "short.bin").write_bytes(kernel[: len(kernel) // 2])
    kernel[0x206:0x208] = (0x0203).to_bytes(2, "little")  # the boot protocol's version
    (folder / "old.bin").write_bytes(kernel)
    with open(os.path.join(machine.TREE, PAYLOADS, "vmlinuz-cloud"), "rb") as file:
        header = file.read(0x264)
    pref_address, init_size = header[0x258:0x260], header[0x260:0x264]
    kernel_end = int.from_bytes(pref_address, "little") + int.from_bytes(init_size, "little")
    (folder / "initrd").write_bytes(bytes(8 << 20))
    return boot(
        f"{folder}/old.bin vm=old mem=64M\n"
        f"{folder}/short.bin vm=short mem=64M\n"
        f"{PAYLOADS}/vmlinuz-cloud vm=small mem=16M\n"
        f"{PAYLOADS}/vmlinuz-cloud vm=initrd mem={(kernel_end >> 20) + 5}M\n{folder}/initrd vm=initrd role=initrd\n"
        f"{PAYLOADS}/initrd.gz vm=orphan role=initrd\n"
        f"build/guests/hello.elf vm=nokernel mem=8M kind=linux\n"
        f"build/guests/hello.elf vm=nonote mem=8M kind=pvh\n"
        f"build/guests/hello.elf vm=notlinux mem=8M\n{PAYLOADS}/initrd.gz vm=notlinux role=initrd\n"
        f"build/guests/hello.elf vm=fine mem=8M\n",
        memory=512, check=False,
    )


@pytest.mark.parametrize("name, words", [
    ("old", r"boot protocol 2\.03; needed: a bzImage of 2\.06 or later"),
    ("short", r"truncated: \d+ bytes of at least \d+"),
    ("small", r"needs memory up to 0x[0-9a-f]+ but mem=16M ends at 0x1000000; use mem=\d+M or more"),
    ("initrd",
     r"initrd of 8388608 bytes does not fit above the kernel's end 0x[0-9a-f]+ in mem=\d+M; use mem=\d+M or more"),
    ("orphan", r"no line defines this VM; add its boot image"),
    ("nokernel", r"no Linux kernel: no HdrS"),
    ("nonote", r"no PVH kernel: no ELF file with a Xen note of type 18"),
    ("notlinux", r"role=initrd is for kind=linux and kind=pvh"),
])
def test_refused(refusals, name, words):
    why = refusals.event("vm refused", name=name)["why"]
    assert re.search(words, why), why


def test_the_others_run_beside_refusals(refusals):
    refusals.check_fail_end()
    assert refusals.event("vm stop", name="fine")["reason"] == "exit", str(refusals)
    assert len(refusals.events("vm start")) == 1, str(refusals)
