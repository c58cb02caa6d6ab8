# SPDX-License-Identifier: BSD-2-Clause
"""A machine that lacks what is needed: one clear line that names it, end status=fail, power-off."""
import re

import pytest

HELLO = "build/guests/hello.elf vm=hello mem=8M\n"


@pytest.mark.parametrize(
    "model, lacks",
    [
        ("p4_willamette", r"long mode|64-bit"),
        ("phenom_8650_toliman", r"VMX"),
        ("core2_penryn_t9600", r"EPT"),
        ("corei5_lynnfield_750", r"unrestricted guest"),
    ],
)
def test_model_lacks(boot, model, lacks):
    check(boot(HELLO, model=model), lacks)


def check(run, lacks):
    run.check_fail_end()
    assert not run.events("vm start"), str(run)
    assert [line for line in run.host_lines if re.search(lacks, line)], f"no line names {lacks}\n{run}"


@pytest.mark.parametrize("uefi", (False, True), ids=("bios", "uefi"))
@pytest.mark.parametrize("cpus", (1, 8))
def test_qemu_without_vmx(boot_qemu, cpus, uefi):
    """Real concurrency and real firmware, up to the VMX check."""
    run = boot_qemu(HELLO, cpus=cpus, uefi=uefi)
    check(run, r"VMX")
    assert run.event("boot")["cpus"] == str(cpus), str(run)


def test_qemu_without_long_mode(boot_qemu):
    """Soft-off before there are ACPI tables, through the port that only this emulator has."""
    check(boot_qemu(HELLO, qemu="-cpu pentium3"), r"long mode|64-bit")
