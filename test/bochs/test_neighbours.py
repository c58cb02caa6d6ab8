# SPDX-License-Identifier: BSD-2-Clause
"""What a hostile neighbour takes of a guest's time: on its own CPU no more than its share, on another nothing. The
bounds are in the ticks of Bochs 2.7, so that make test asks this engine alone."""
import re

import pytest

import bounds

GAP = "build/guests/gap.elf vm={name} mem=4M affinity={cpu} limit=60000 -- ms=2000\n"
HOSTILE = ("build/guests/hostile.elf vm={vm} mem=16M affinity={cpu} {keys} weight=1 -- attack={name} ms=1800\n")
SHARE = 1 - bounds.ATTACKER_SHARE / 100


def seen(run, name):
    """(longest time without running in us, loops, all such times in us)"""
    found = re.search(r"gap worst_us=(\d+) loops=(\d+) lost_us=(\d+)", "\n".join(run.output(name)))
    assert found, str(run)
    return tuple(int(figure) for figure in found.groups())


@pytest.mark.parametrize("attack,keys", bounds.ATTACKS)
def test_time_is_contained(boot, attack, keys):
    lines = GAP.format(name="same", cpu=0) + GAP.format(name="other", cpu=1)
    run = boot(lines + HOSTILE.format(vm="hostile-with-a-long-name", cpu=0, keys=keys, name=attack), cpus=2)
    run.check_good_end()
    same_gap, same_loops, _ = seen(run, "same")
    other_gap, other_loops, _ = seen(run, "other")
    assert same_loops >= (SHARE - bounds.ATTACK_LOSS / 100) * other_loops, f"{same_loops} of {other_loops} loops\n{run}"
    assert same_gap <= bounds.GAP_US, run
    assert other_gap <= bounds.OTHER_GAP_US, run


def test_attacks_from_another_cpu(boot):
    """All of them together, on a CPU that they have to themselves."""
    lines = [HOSTILE.format(vm=f"far{n}", cpu=1, keys=keys, name=name)
             for n, (name, keys) in enumerate(bounds.FAR_ATTACKS)]
    run = boot(GAP.format(name="same", cpu=0) + "".join(lines), cpus=2)
    run.check_good_end()
    gap, _, lost = seen(run, "same")
    assert lost <= bounds.ATTACK_LOSS / 100 * 2_000_000, run
    assert gap <= bounds.OTHER_GAP_US, run


def test_attacks_from_both_cpus(boot):
    """What sleeps beside the neighbour is sent to from the other CPU. VMs of a hundredth of its weight, together: the
    first two lines keep the CPUs' loads alike, so that vCPUs go to both."""
    lines = [HOSTILE.format(vm=f"split{n}", cpu="0-1", keys=keys.replace("16", "6"), name=name)
             for n, (name, keys) in enumerate(bounds.SPLIT_ATTACKS)]
    run = boot(GAP.format(name="same", cpu=0).replace(" --", " weight=10000 --") +
               "build/guests/ends.elf vm=holder mem=4M affinity=1 weight=10000 limit=2200 -- how=button\n" +
               "".join(lines).replace("weight=1 ", "weight=20 "), cpus=2)
    run.check_good_end()
    gap, _, lost = seen(run, "same")
    assert lost <= (bounds.ATTACK_LOSS + 1) / 100 * 2_000_000, run
    assert gap <= bounds.GAP_US, run


def test_the_time_of_an_inner_guest_is_its_vms(boot):
    """One that never exits has half the CPU, as any neighbour of the same weight, and ends at its VM's limit."""
    lines = GAP.format(name="same", cpu=0) + GAP.format(name="other", cpu=1)
    run = boot(lines + "build/guests/inner.elf vm=inner mem=8M nested=on affinity=0 limit=1500 -- stay=1\n", cpus=2)
    run.check_good_end()
    assert run.reasons()["inner"] == "limit" and "inner stays" in run.output("inner"), str(run)
    assert abs(int(run.event("vm stats", name="inner")["run_us"]) - 1_500_000) < bounds.GAP_US, str(run)
    same, other = seen(run, "same")[1], seen(run, "other")[1]
    assert same >= (0.5 - bounds.ATTACK_LOSS / 100) * other, f"{same} of {other} loops\n{run}"


def test_the_end_of_a_large_vm_holds_up_nobody(boot):
    """Its memory is zeroed in pieces, by CPUs that have nothing else to do, and all of it before the run's end."""
    lines = GAP.format(name="same", cpu=0) + GAP.format(name="other", cpu=1)
    run = boot(lines + "build/guests/hello.elf vm=large mem=300M affinity=0\n", cpus=2, memory=512)
    run.check_good_end()
    assert run.reasons()["large"] == "exit"
    assert seen(run, "same")[0] <= bounds.GAP_US, run
    assert seen(run, "other")[0] <= bounds.OTHER_GAP_US, run


@pytest.mark.parametrize("payload,keys,reason", bounds.ENDS)
def test_a_long_report_holds_up_nobody(boot, payload, keys, reason):
    """It is printed in pieces between the neighbour's slices, and its lines stand in their order all the same."""
    lines = GAP.format(name="same", cpu=0) + GAP.format(name="other", cpu=1)
    run = boot(lines + f"build/guests/{payload} vm=ends mem=8M affinity=0 {keys} -- late=1 turns=100\n", cpus=2)
    if reason == "exit":
        run.check_good_end()
    else:
        run.check_fail_end()
    assert run.reasons()["ends"] == reason, str(run)
    assert seen(run, "same")[0] <= bounds.GAP_US, run
    assert seen(run, "other")[0] <= bounds.OTHER_GAP_US, run
    kinds = [line.split(" name=ends")[0] for line in run.host_lines if re.match(r"vm .* name=ends", line)]
    first, last = kinds.index("vm regs"), kinds.index("vm stop")
    assert set(kinds[:first]) <= {"vm start", "vm entry", "vm vmcs"}, kinds
    assert set(kinds[first:last]) <= {"vm regs", "vm frame", "vm vmcs", "vm fault"}, kinds


@pytest.mark.parametrize("by", ("uart", "call"))
def test_a_vm_that_waits_for_the_console_takes_its_interrupts(boot, by):
    """Its timer ticks each millisecond; its console is full after a third of a second. No byte is lost or doubled."""
    run = boot(f"build/guests/loud.elf vm=loud mem=4M -- by={by}\n")
    run.check_good_end()
    lines = run.output("loud")
    found = re.fullmatch(r"loud ticks=(\d+) worst_us=(\d+)", lines[-1])
    assert found and int(found[1]) > 1400 and int(found[2]) < 3000, lines[-1]
    assert set(lines[:-1]) == {"loud, and louder, with a line that says nothing to anybody who might read it"}
    assert len(lines) > 400


def test_the_making_of_a_large_vm_holds_up_nobody(boot):
    """No CPU is idle, so the boot CPU cleans what the first run has left and makes the second between its guests."""
    lines = GAP.format(name="same", cpu=0) + GAP.format(name="other", cpu=1)
    large = "build/guests/hello.elf vm=large mem=300M restart=always restarts=1\n"
    run = boot(lines + large, cpus=2, memory=512, options="test=restart-at-once")
    run.check_good_end()
    assert [stop["reason"] for stop in run.events("vm stop", name="large")] == ["exit", "exit"]
    assert seen(run, "same")[0] <= bounds.GAP_US, run
    assert seen(run, "other")[0] <= bounds.OTHER_GAP_US, run
    stops = [stop["name"] for stop in run.events("vm stop")]
    assert stops.index("same") < len(stops) - 1, "it was made before they looked"
