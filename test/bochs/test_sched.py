# SPDX-License-Identifier: BSD-2-Clause
"""The scheduler from outside: shares, caps, affinity, moves between CPUs, ends of VMs."""
import re

import bounds

SPIN = "build/guests/spinner.elf"


def times(run, name):
    """Run time and time from start to stop, in microseconds. limit= is run time: whoever ends first did so beside the
    other."""
    stats = run.event("vm stats", name=name)
    return int(stats["run_us"]), int(stats["wall_us"])


def test_shares_follow_weights(boot):
    run = boot(
        f"{SPIN} vm=light mem=4M affinity=0 weight=100 limit=600\n"
        f"{SPIN} vm=heavy mem=4M affinity=0 weight=300 limit=1500\n"
    )
    run.check_good_end()
    run_us, wall_us = times(run, "heavy")
    assert wall_us < times(run, "light")[1], str(run)
    assert 73 <= 100 * run_us / wall_us <= 77, str(run)


def test_a_vcpu_that_spins_hands_over(boot):
    """Two vCPUs on one CPU spin for each other: some microseconds a turn, not a slice, and only their VM's own time."""
    turns = "build/guests/handover.elf vm=turns mem=4M cpus=2 affinity=0 -- rounds={}\n"
    run = boot(turns.format(20))
    run.check_good_end()
    found = re.search(r"handover rounds=20 us=(\d+)", "\n".join(run.output("turns")))
    assert found and int(found[1]) < bounds.HANDOVER_US, str(run)
    run = boot(turns.format(2000) + f"{SPIN} vm=spin mem=4M affinity=0 limit=150\n")
    run.check_good_end()
    run_us, wall_us = times(run, "spin")
    assert 100 * run_us / wall_us >= 45, str(run)


def test_slices_end_without_preemption_timer(boot):
    """The local APIC timer ends them then. (Bochs takes no interrupt in a guest that has them off: docs/running.md.)"""
    run = boot(
        f"{SPIN} vm=light mem=4M weight=100 limit=100\n{SPIN} vm=heavy mem=4M weight=300 limit=300\n",
        options="vmx.disable=preemption-timer",
    )
    run.check_good_end()
    run_us, wall_us = times(run, "heavy")
    assert 70 <= 100 * run_us / wall_us <= 80, str(run)
    assert int(run.event("vm stats", name="light")["slices"]) >= 9, str(run)


def test_cap_and_affinity(boot):
    """A capped VM leaves its CPU idle; a pinned one never moves."""
    run = boot(f"{SPIN} vm=capped mem=4M affinity=1 cap=30 limit=300\n{SPIN} vm=pinned mem=4M affinity=0 limit=900\n",
               cpus=2)
    run.check_good_end()
    assert 900_000 <= times(run, "capped")[1] <= 1_100_000, str(run)
    assert 890_000 <= times(run, "pinned")[1] <= 950_000, str(run)
    for name in ("capped", "pinned"):
        assert run.event("vm stats", name=name)["migrations"] == "0", str(run)


def test_ready_vcpus_move_to_an_idle_cpu(boot):
    """Four spinners on two CPUs; the two that live longer end up with a CPU each, wherever they began."""
    for order in ("LLSS", "LSLS", "LSSL"):
        lines = [f"{SPIN} vm={kind}{n} mem=4M limit={900 if kind == 'L' else 150}\n" for n, kind in enumerate(order)]
        run = boot("".join(lines), cpus=2)
        run.check_good_end()
        for n, kind in enumerate(order):
            if kind == "L":
                # 150 ms beside a short one on the same CPU, and then alone.
                assert times(run, f"L{n}")[1] < 1_200_000, f"{order}\n{run}"


def test_halted_vcpu_costs_nothing(boot):
    """The timer guest sleeps in HLT between its ticks: the spinner has nearly the whole CPU. What else it waits for is
    the making of the timer's VM and its end: 4 MiB zeroed twice are 21 ms of a CPU that stores 8 bytes a tick at
    50 MHz."""
    run = boot(f"{SPIN} vm=spin mem=4M limit=300\nbuild/guests/timer.elf vm=timer mem=4M\n")
    run.check_good_end()
    timer_run, timer_wall = times(run, "timer")
    assert timer_run < timer_wall / 3, str(run)
    assert times(run, "spin")[1] < 300_000 + timer_run + 21_000 + 10_000, str(run)


def test_each_way_to_end(boot):
    ways = {
        "exit": "exit",
        "poweroff": "poweroff",
        "poweroff2": "poweroff",
        "shutdown": "poweroff",
        "halt": "halt",
        "reset": "reset",
        "keyboard": "reset",
        "port92": "reset",
    }
    run = boot("".join(f"build/guests/ends.elf vm={way} mem=2M -- how={way}\n" for way in ways), cpus=2)
    assert run.reasons() == ways, str(run)
    run.check_fail_end()  # a reset is not an end by the VM's own will


def test_exit_status_is_the_guests(boot):
    run = boot("build/guests/ends.elf vm=seven mem=2M -- how=exit status=7\n")
    stop = run.event("vm stop", name="seven")
    assert (stop["reason"], stop["status"]) == ("exit", "7")
    run.check_fail_end()


def test_many_vms_on_two_cpus(boot):
    count = 40
    run = boot("".join(f"build/guests/hello.elf vm=h{n} mem=2M\n" for n in range(count)), cpus=2)
    run.check_good_end()
    assert run.reasons() == {f"h{n}": "exit" for n in range(count)}


def test_vmx_can_be_entered_again(boot):
    run = boot("build/guests/hello.elf vm=hello mem=8M\n", "test=vmx-again", cpus=2)
    run.check_good_end()
    assert sorted(again["cpu"] for again in run.events("vmx", again="ok")) == ["0", "1"], str(run)


def test_first_entry_is_early(boot):
    run = boot("build/guests/hello.elf vm=hello mem=8M\n", cpus=2)
    assert 0 < int(run.event("first entry")["ticks"]) < 20_000_000, str(run)


def test_vm_memory_overhead(boot):
    run = boot("build/guests/hello.elf vm=hello mem=8M\n", cpus=2)
    assert 0 < int(run.event("vm memory", name="hello")["overhead_bytes"]) <= 32 * 1024, str(run)


