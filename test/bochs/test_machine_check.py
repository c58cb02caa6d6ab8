# SPDX-License-Identifier: BSD-2-Clause
"""Machine checks on an engine that can raise them: QEMU's monitor puts them into the CPU's banks. No VMX is needed."""
import json
import os
import subprocess
import time

import machine

HELLO = "build/guests/hello.elf vm=hello mem=8M\n"
WAIT_SECONDS = 300  # a busy host
CORRECTED = 0x9C00000000000151  # valid, enabled, with address and misc
FATAL = 0xB200000000000150  # and uncorrected, context corrupt


def wait_for(path, words):
    """The serial console once it has these words."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        text = path.read_text(errors="replace") if path.exists() else ""
        if words in text:
            return text
        time.sleep(0.05)
    raise AssertionError(f"no {words!r} in\n{text}")


def test_machine_checks_in_qemu(tmp_path):
    """Errors that were corrected are logged, a line a second; one that was not is the end, with what the bank says."""
    (tmp_path / "x.vms").write_text(HELLO)
    serial = tmp_path / "serial.log"
    subprocess.run([os.path.join(machine.TREE, "tools/mkiso"), tmp_path / "x.vms", "-o", tmp_path / "x.iso",
                    "--options", "test=machine-check"], cwd=machine.TREE, check=True)
    command = ["qemu-system-x86_64", "-display", "none", "-nic", "none", "-no-reboot", "-accel", "tcg,thread=multi"]
    command += ["-cpu", "max", "-smp", "2", "-m", "256", "-serial", f"file:{serial}", "-qmp", "stdio"]
    command += ["-cdrom", tmp_path / "x.iso", "-boot", "d"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as qemu:

        def qmp(command, **arguments):
            print(json.dumps({"execute": command, "arguments": arguments}), file=qemu.stdin, flush=True)

        def mce(bank, status):
            qmp("human-monitor-command", **{"command-line": f"mce 0 {bank} {status:#x} 0x5 0x123000 0x8c"})

        try:
            qmp("qmp_capabilities")
            assert "machine-check banks=10" in wait_for(serial, "test machine-check waits")
            for bank in (3, 5):
                mce(bank, CORRECTED)
            line = "kind=corrected status=0x9c00000000000151 address=0x123000 misc=0x8c"
            assert "machine check cpu=0" in wait_for(serial, line)
            mce(2, FATAL)
            text = wait_for(serial, "end status=fail")
            qemu.communicate(timeout=WAIT_SECONDS)
        finally:
            qemu.kill()
    assert "panic: #MC machine check" in text
    assert "machine check bank=2 status=0xb200000000000150" in text.split("panic:")[1]
