# SPDX-License-Identifier: BSD-2-Clause
"""All hostile guests beside two well-behaved ones: those finish, each hostile one stops for its own reason."""
import re

import pytest

import vms

pytestmark = pytest.mark.engines

CONTAINMENT = "guests/containment.vms"
HOSTILE = ("triple.elf", "badstate.elf", "outside.elf", "ports.elf", "msrs.elf", "spincli.elf", "vmxinsn.elf",
           "wildcalls.elf", "ownpt.elf", "hostile.elf")


# With two CPUs a run on Bochs 3.0 sometimes does not end (docs/running.md, quirk exception-rip).
@pytest.fixture(scope="module", params=(1, pytest.param(2, marks=pytest.mark.engine_fault)))
def contained(boot, request):
    return boot(CONTAINMENT, cpus=request.param, memory=512)


def test_ends_in_good_order(contained):
    """status=fail, since a triple fault is not an end by the VM's own will; frames, VMXOFF and power-off all the
    same."""
    contained.check_fail_end()


def test_all_hostile_guests_are_there():
    assert set(HOSTILE) <= set(vms.payloads(vms.read(CONTAINMENT)).values())


def test_each_vm_stops_once_for_its_own_reason(contained):
    for name, payload in vms.payloads(vms.read(CONTAINMENT)).items():
        vms.check_guest(contained, name, payload)


def test_well_behaved_guests_have_the_right_answer(contained):
    good = [name for name, payload in vms.payloads(vms.read(CONTAINMENT)).items() if payload not in HOSTILE]
    assert len(good) >= 2
    for name in good:
        assert contained.event("vm stop", name=name)["reason"] in ("exit", "halt", "poweroff"), str(contained)


def test_no_guest_causes_an_error_line(contained):
    assert not [line for line in contained.host_lines if line.startswith("error")], str(contained)


def test_a_fault_is_told_with_what_went_before(contained):
    """The last records of a VM that ended by a fault, repeats folded: ever later, all its own; the fault; its end."""
    for name, cause in (("triple", "triple-fault"), ("badstate", "invalid-guest-state")):
        lines = [line for line in contained.host_lines if line.startswith("last ") and f" vm={name} " in line]
        assert 3 <= len(lines) <= 32, str(contained)
        folds = [line for line in lines if re.search(r"(?=.*out 0x3f8)(?=.*in 0x3fd).*: \d+ times$", line)]
        assert folds, lines
        times = [int(line.split("tsc=")[1].split()[0]) for line in lines]
        assert times == sorted(times), str(contained)
        assert f" {cause} rip=" in lines[-3] and " stop " in lines[-3], lines[-3]
        assert lines[-2].endswith(" leave stopped") and " vm-stop reason=" in lines[-1], lines[-2:]


def test_a_triple_fault_is_explained(contained):
    fault = contained.event("vm fault", name="triple")
    assert fault["first"] == "#UD" and fault["remark"] == "IDT limit 0: no handler can be reached", fault
    assert contained.event("vm stop", name="triple")["first"] == "#UD", str(contained)
    fault = contained.event("vm fault", name="ownpt")
    assert fault["first"] == "#PF" and fault["address"] == fault["rip"], fault
    assert "the guest has loaded no IDT" in fault["remark"], fault


def test_faults_are_explained_while_a_neighbour_exits(boot):
    """The reports wait for each other, and the neighbour's exits fill the flight recorder in the meantime."""
    names = [f"ownpt{i}" for i in range(4)]
    lines = [f"build/guests/ownpt.elf vm={name} mem=4M dump=vmcs" for name in names]
    run = boot("\n".join([*lines, "build/guests/ports.elf vm=ports mem=4M\n"]), check=False)
    assert {fault["name"]: fault["first"] for fault in run.events("vm fault")} == dict.fromkeys(names, "#PF"), str(run)


def test_memory_that_nobody_has_is_told(contained):
    """Who went astray, how often, where first and in which function; the others did not."""
    strays = {line["name"]: line for line in contained.events("vm memory") if "stray" in line}
    assert set(strays) == {"outside", "reads", "reader"}, str(contained)
    stray = strays["outside"]
    assert stray["first"] == "0xa0000" and int(stray["stray"]) > 300, stray
    assert re.match(r"(probe|check_below_4g)", stray["function"]), stray


def test_a_vm_with_several_vcpus_ends_beside_a_running_one(boot):
    """The second vCPU is retired, with a report, on a CPU that is inside the exit of another VM's vCPU."""
    run = boot(
        "build/guests/spinner.elf vm=spin mem=4M affinity=1 weight=50 limit=300\n"
        "build/guests/smp.elf vm=smp mem=4M cpus=2 dump=regs\n",
        cpus=2,
    )
    run.check_good_end()
    assert run.event("vm stop", name="spin")["reason"] == "limit", str(run)
    assert {line["vcpu"] for line in run.events("vm regs", name="smp") if "vcpu" in line} == {"0", "1"}, str(run)
