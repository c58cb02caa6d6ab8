# SPDX-License-Identifier: BSD-2-Clause
"""The QEMU command of a machine for Rootlet: tools/run-qemu runs it here, tools/run-kvm in a machine of its own."""

PROGRAM = "qemu-system-x86_64"
# QMP wants this from its client; then it tells of the end of the run.
QMP_BEGIN = b'{"execute": "qmp_capabilities"}\n'
SHUTDOWN = r'"event": "SHUTDOWN".*?"reason": "([a-z-]+)"'
TCG = ["-accel", "tcg,thread=multi", "-cpu", "max"]
KVM = ["-accel", "kvm", "-cpu", "host,+vmx"]


def command(cpus, memory, accelerator, second_port=None, flash=None):
    """Runs in a folder with boot.iso; the console goes to serial.log.

    flash: the UEFI firmware's code file; its variables are in the folder's vars.fd.
    """
    words = [PROGRAM, "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]
    words += ["-serial", "file:serial.log", "-qmp", "stdio", "-cdrom", "boot.iso", "-boot", "d"]
    words += ["-serial", second_port] if second_port else []
    words += ["-smp", str(cpus), "-m", str(memory)] + accelerator
    if flash:
        words += ["-drive", f"if=pflash,format=raw,readonly=on,file={flash}"]
        words += ["-drive", "if=pflash,format=raw,file=vars.fd"]
    return words
