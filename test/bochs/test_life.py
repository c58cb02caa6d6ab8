# SPDX-License-Identifier: BSD-2-Clause
"""VMs that start again: restart=, restarts=, the delay between two runs; and watchdog=."""
import pytest

import vms

TICKS_PER_MS = 50_000  # of Bochs's TSC

# Name -> the line, the reason of each run, whether the last one ended well.
RESTARTS = {
    "cf9": ("ends.elf", "mem=4M restart=always restarts=3 -- how=reset", ["reset"] * 4),
    "keyboard": ("ends.elf", "mem=4M restart=always restarts=1 -- how=keyboard", ["reset"] * 2),
    "port92": ("ends.elf", "mem=4M restart=on-failure restarts=1 -- how=port92", ["reset"] * 2),
    "triple": ("triple.elf", "mem=4M restart=on-failure restarts=1", ["triple-fault"] * 2),
    "bad": ("ends.elf", "mem=4M restart=on-failure restarts=1 -- how=exit status=3", ["exit"] * 2),
    "good": ("ends.elf", "mem=4M restart=on-failure -- how=exit", ["exit"]),
    "off": ("ends.elf", "mem=4M restart=on-failure -- how=poweroff", ["poweroff"]),
    "always": ("ends.elf", "mem=4M restart=always restarts=1 -- how=poweroff", ["poweroff"] * 2),
    "halt": ("ends.elf", "mem=4M restart=always restarts=1 -- how=halt", ["halt"] * 2),
    "limit": ("spinner.elf", "mem=4M limit=20 restart=always restarts=1", ["limit"] * 2),
    "two": ("smp.elf", "mem=4M cpus=2 restart=always restarts=1", ["exit"] * 2),
    "never": ("ends.elf", "mem=4M restart=never -- how=reset", ["reset"]),
    "default": ("ends.elf", "mem=4M -- how=reset", ["reset"]),
}


def lines(table):
    return "".join(f"build/guests/{row[0]} vm={name} {row[1]}\n" for name, row in table.items())


@pytest.fixture(scope="module")
def restarted(boot):
    return boot(lines(RESTARTS), cpus=2, memory=256, limit=200)


@pytest.mark.engines
@pytest.mark.parametrize("name", RESTARTS)
def test_each_end_and_each_policy(restarted, name):
    reasons = RESTARTS[name][2]
    stops = restarted.events("vm stop", name=name)
    starts = restarted.events("vm start", name=name)
    assert [stop["reason"] for stop in stops] == reasons, str(restarted)
    numbers = [None] + [str(number) for number in range(1, len(reasons))]
    assert [stop.get("restart") for stop in stops] == [start.get("restart") for start in starts] == numbers
    assert len(restarted.output(name)) % len(reasons) == 0  # each run printed the same
    delays = [restart["in_ms"] for restart in restarted.events("vm restart", name=name)]
    assert delays == ["1000", "2000", "4000"][: len(reasons) - 1]


def test_what_is_added_stands_at_the_end(restarted):
    assert "vm stop name=bad reason=exit status=3" in restarted.host_lines
    assert "vm stop name=bad reason=exit status=3 restart=1" in restarted.host_lines
    assert "vm start name=bad kind=multiboot mem=4194304 cpus=1 restart=1" in restarted.host_lines


def test_the_last_run_counts(restarted):
    """No frame is lost, and what ended well at last is no failure."""
    restarted.check_fail_end()
    failed = sorted(failure["vm"] for failure in restarted.events("failed"))
    assert failed == ["bad", "cf9", "default", "keyboard", "never", "port92", "triple"]
    stats = restarted.event("vm stats", name="cf9")
    once = restarted.event("vm stats", name="default")
    assert int(stats["exits"]) == 4 * int(once["exits"])


def test_the_delay_grows(restarted):
    """The records of each end have the time of it."""
    stops = [int(record["tsc"]) for record in restarted.events("last", vm="cf9") if "reason" in record]
    gaps = [(later - earlier) / TICKS_PER_MS for earlier, later in zip(stops, stops[1:])]
    assert len(gaps) == 3
    for gap, delay in zip(gaps, (1000, 2000, 4000)):
        assert delay <= gap < delay + 300


WATCHED = {
    "hung": ("spinner.elf", "mem=4M watchdog=50 restart=on-failure restarts=1", ["watchdog"] * 2),
    "cli": ("spincli.elf", "mem=4M watchdog=50", ["watchdog"]),
    "patient": ("spinner.elf", "mem=4M watchdog=500 limit=200", ["limit"]),
    "timer": ("timer.elf", "mem=4M watchdog=20 -- ticks=30", ["halt"]),
    "apic": ("apic.elf", "mem=8M cpus=2 watchdog=100", ["exit"]),
}


@pytest.fixture(scope="module")
def watched(boot):
    return boot(lines(WATCHED), cpus=2, memory=256, limit=200)


@pytest.mark.engines
@pytest.mark.parametrize("name", WATCHED)
def test_watchdog(watched, name):
    stops = watched.events("vm stop", name=name)
    assert [stop["reason"] for stop in stops] == WATCHED[name][2], str(watched)
    for stop in stops:
        assert stop["reason"] != "watchdog" or stop["ms"] == "50"


def test_a_hung_vm_leaves_its_registers_and_records(watched):
    for name in ("hung", "cli"):
        registers = [line for line in watched.events("vm regs", name=name) if "rip" in line]
        assert len(registers) == len(WATCHED[name][2])
        assert watched.events("last", vm=name)
    run_us = int(watched.event("vm stats", name="cli")["run_us"])
    assert 50_000 <= run_us < 62_000  # it ran first; a slice is 10 ms
    watched.check_fail_end()


def test_restarts_without_a_restart(boot):
    run = boot("build/guests/ends.elf vm=a mem=4M restarts=3\n", check=False)
    assert run.event("vm refused", name="a")["why"].startswith("restarts= without a restart")


@pytest.mark.engines
def test_many_runs_cost_the_same_and_lose_nothing(boot):
    """test/soak has 10,000 of them."""
    run = boot(vms.cycles(301), options="log=warn test=restart-at-once", cpus=2, limit=300)
    vms.check_cycles(run, 301)
