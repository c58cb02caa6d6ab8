# SPDX-License-Identifier: BSD-2-Clause
"""Below KVM with nested VMX: Debian's QEMU in Debian's Linux, in Bochs (tools/run-kvm).

make test boots it once, by BIOS in the faster Bochs 3; make test-engines by BIOS and by UEFI in both.
"""
import os
import re

import pytest

import machine
import vms

EXITS = 3000  # of each ordinary kind
VMS = f"""\
build/guests/hello.elf   vm=hello mem=8M -- one two
build/guests/smp.elf     vm=smp mem=4M cpus=2
build/guests/long64.elf  vm=exits mem=8M -- exits={EXITS}
"""
CPUID, VMREAD, VMWRITE, IO, RDMSR, EPT_VIOLATION = 10, 23, 25, 30, 31, 48

EVERYTHING = "ROOTLET_ALL_ENGINES" in os.environ


@pytest.fixture(scope="module", params=["bios", "uefi"] if EVERYTHING else ["bios"])
def run(request):
    engine = machine.engine_name() if EVERYTHING else "bochs3"
    return machine.boot_kvm(VMS, engine, uefi=request.param == "uefi")


def counts(run):
    """Reason -> (exits to KVM of Rootlet and its guests, those of its guests alone)."""
    found = re.findall(r"^exit reason=(\d+) all=(\d+) guests=(\d+)", run.log, re.MULTILINE)
    return {int(reason): (int(every), int(guests)) for reason, every, guests in found}


def test_ends_well(run):
    run.check_good_end()
    assert run.event("boot")["cpus"] == "2"
    assert len([cpu for cpu in run.events("cpu") if cpu.get("vmx") == "root"]) == 2


def test_guests_do_their_work(run):
    vms.check_guests(run, VMS)
    assert run.output("smp")[-1].startswith("smp ok vcpus=2 ")


def test_host_uses_x2apic(run):
    assert run.event("lapic")["mode"] == "x2apic"


def test_each_exit_of_a_guest_reaches_kvm(run):
    """Else the next test would prove nothing."""
    exits = counts(run)
    for reason in (CPUID, IO, RDMSR, EPT_VIOLATION):
        assert exits[reason][1] >= EXITS, f"{reason}: {exits}"


def test_an_exit_costs_no_trapped_vmread_or_vmwrite(run):
    """Setting the VMCSs up takes some hundred VMWRITEs each; an access at each exit would be thousands."""
    exits = counts(run)
    trapped = exits.get(VMREAD, (0, 0))[0] + exits.get(VMWRITE, (0, 0))[0]
    assert trapped < EXITS, str(exits)
    assert exits.get(VMREAD, (0, 0))[0] < EXITS // 10, str(exits)
