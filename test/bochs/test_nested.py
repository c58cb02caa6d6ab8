# SPDX-License-Identifier: BSD-2-Clause
"""Hypervisors as guests: VMX instructions, and VM entries that are refused."""
import subprocess

import pytest

import machine
import vms

pytestmark = pytest.mark.engines


def test_instructions_and_refused_entries(boot):
    run = boot("build/guests/vmxroot.elf vm=root mem=8M nested=on\n")
    vms.check_guest(run, "root", "vmxroot.elf")
    run.check_good_end()


def test_the_inner_vmcs_is_dumped(boot):
    """At the limit, which comes when the guest has made its VMCS."""
    run = boot("build/guests/lab.elf vm=lab mem=8M nested=on dump=vmcs limit=120\n")
    assert run.reasons() == {"lab": "limit"}, str(run)
    for area, field in (("guest", "GUEST_RIP"), ("control", "PIN_CONTROLS"), ("host", "HOST_RIP")):
        dumped = [line for line in run.lines if line.startswith(f"rootlet: vm inner-vmcs name=lab vcpu=0 {area}: ")]
        assert [line for line in dumped if f" {field}=0x" in line], area


def test_the_dump_has_what_was_written_last(boot):
    """The CPU has put it into the shadow VMCS, without an exit, and nobody has entered that VMCS since."""
    run = boot("build/guests/inner.elf vm=inner mem=8M nested=on dump=vmcs limit=100 -- stay=2\n")
    assert run.reasons() == {"inner": "limit"} and "inner waits" in run.output("inner"), str(run)
    dumped = [line for line in run.lines if line.startswith("rootlet: vm inner-vmcs name=inner vcpu=0 guest: ")]
    assert [line for line in dumped if " GUEST_RIP=0x4711" in line], str(run)


def test_init_waits_for_vmxoff(boot):
    run = boot("build/guests/apic.elf vm=two mem=8M cpus=2 nested=on -- only=init-vmx\n")
    for mode in ("xapic", "x2apic"):
        assert f"apic {mode} init-vmx ok" in run.output("two"), str(run)
    run.check_good_end()


def test_hostile_hypervisors(boot):
    """Random VMCSs, and VMCSs that another vCPU writes to meanwhile; make soak has a million."""
    run = boot(vms.random_entries(400, 1, "explain=off") + vms.torn_vmcss(40, 1, "explain=off"), cpus=2)
    run.check_good_end()
    vms.check_random_entries(run, 400)
    vms.check_torn_vmcss(run)


def test_it_says_why(boot):
    run = boot("build/guests/vmxroot.elf vm=root mem=8M nested=on\n"
               "build/guests/vmxroot.elf vm=quiet mem=8M nested=on explain=off\n")
    why = [line for line in run.lines if line.startswith("rootlet: vm nested ")]
    assert not [line for line in why if "name=root vcpu=0" not in line]
    for words in ('vmresume refused error=5 rule="the VMCS that VMRESUME enters must be launched',
                  'vmlaunch refused error=8 rule="bits fixed in VMX operation',
                  'vmlaunch refused exit=33 rule="bits 63:22, 15, 5 and 3 must be 0 and bit 1 must be 1" '
                  'field=GUEST_RFLAGS value=0x0 sdm="3C 26.3.1.4 Checks on Guest RIP and RFLAGS"',
                  'vmlaunch refused exit=34 rule="IA32_FS_BASE and IA32_GS_BASE cannot be loaded this way" '
                  'field=ENTRY_MSR_LOAD_ADDRESS entry=1 value=0xc0000100 sdm="3C 26.4 Loading MSRs"',
                  'vmlaunch refused error=none rule="a VMCS must be current'):
        assert [line for line in why if words in line], words
    run.check_good_end()


def test_rootlet_in_rootlet(boot):
    """The demo, a level deeper: what each guest prints and how its VM ends is the same."""
    lines = subprocess.run(["tools/nest-vms", "guests/demo.vms"], check=True, capture_output=True, text=True).stdout
    run = boot(lines, cpus=2, memory=384, limit=1800)
    run.check_good_end()
    assert run.reasons() == {"rootlet": "poweroff"}, str(run)
    inner = machine.Run(0, "", "\n".join(run.output("rootlet")), "")
    demo = vms.read("guests/demo.vms")
    vms.check_guests(inner, demo)
    assert inner.event("boot")["cpus"] == "2" and inner.event("end")["status"] == "ok", str(run)
    assert set(inner.reasons()) == set(vms.payloads(demo)), str(run)


def test_the_recorder_knows_both_levels(boot):
    """CPUID, HLT and VMCALL of the lab's inner guest are its hypervisor's."""
    run = boot("build/guests/lab.elf vm=lab mem=8M nested=on explain=off\n", options="trace=serial")
    run.check_good_end()
    text = "\n".join(run.lines)
    keys = {"input": text, "check": True, "capture_output": True, "text": True}
    listed = subprocess.run(["tools/trace", "-", "--list"], **keys).stdout
    for cause in "cpuid", "hlt", "vmcall":
        assert [line for line in listed.splitlines() if f"=lab {cause}" in line and " to-hypervisor " in line], cause
    assert [line for line in listed.splitlines() if "=lab vmresume" in line and " to-inner " in line]
    summary = subprocess.run(["tools/trace", "-"], **keys).stdout
    row = [line.split() for line in summary.split("guest hypervisors")[1].splitlines()[1:] if line][0]
    assert row[0] == "lab" and int(row[1].replace(",", "")) > 0, summary
    assert int(row[5]) >= 3 and int(row[7].replace(",", "")) > 3000, summary
