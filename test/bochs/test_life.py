# SPDX-License-Identifier: BSD-2-Clause
"""VMs that start again: restart=, restarts=, the delay between two runs; and watchdog=."""
import pytest

import session
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
    return boot(lines(RESTARTS), cpus=2, memory=256)


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
    return boot(lines(WATCHED), cpus=2, memory=256)


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
    run = boot(vms.cycles(301), options="log=warn test=restart-at-once", cpus=2)
    vms.check_cycles(run, 301)


def test_a_kernel_that_panics_is_started_again(boot):
    """Linux without a root file system resets its PC; the second run sees fresh memory and devices."""
    kernel = "build/payloads/vmlinuz-cloud vm=lin mem=128M cpus=2 restart=on-failure restarts=1 "
    run = boot(kernel + "-- console=ttyS0 panic=-1 cryptomgr.notests\n", cpus=2, memory=512, limit=1800)
    assert [stop["reason"] for stop in run.events("vm stop", name="lin")] == ["reset", "reset"], str(run)
    panics = [line for line in run.output("lin") if "Kernel panic - not syncing: VFS" in line]
    assert len(panics) == 2, str(run)
    run.check_fail_end()


# ---- orders ----

SPIN = "build/guests/spinner.elf vm=spin mem=4M {keys}\n"
BUTTON = "build/guests/ends.elf vm=button mem=4M restart=always -- how=button\n"
TIMER = "build/guests/timer.elf vm=timer mem=4M -- ticks=1\n"


def begin(text, options="monitor=start idle=monitor", cpus=1):
    return session.Session(text, options, cpus=cpus)


def state(s, name):
    return s.ok("list").pairs("vm", name=name)[0]["state"]


@pytest.mark.engines
def test_no_watchdog_for_a_paused_vm():
    """While it is paused another VM counts two seconds; after that it has what was left of its one and a half."""
    with begin(SPIN.format(keys="") + TIMER, cpus=2) as s:
        s.expect("rootlet> ")
        s.ok("kill spin")
        s.send("start hung spin watchdog=1500\rpause hung\r")  # at once: the host's time counts nothing here
        for _ in range(2):
            assert s.expect(session.END).group(1) == "ok"
        s.ok("start clock timer -- ticks=2000")
        s.expect("vm stop name=clock reason=halt")
        assert state(s, "hung") == "paused"
        s.ok("resume hung")
        s.expect("vm stop name=hung reason=watchdog ms=1500")
        s.ok("poweroff -t 100")
        run = s.end()
        assert 1_500_000 <= int(run.event("vm stats", name="hung")["run_us"]) < 1_520_000


def test_vms_that_end_at_once_do_not_keep_the_monitor_waiting():
    lines = "".join(f"build/guests/ends.elf vm=e{n} mem=2M restart=always -- how=exit\n" for n in range(12))
    with session.Session(lines, "monitor=start test=restart-at-once") as s:
        s.expect("rootlet> ")
        s.send("list\r")  # what it answers stands between the lines of the VMs
        s.expect("rootlet: vm name=e11 state=")
        s.expect("rootlet: ok")
        s.send("poweroff -t 100\r")
        s.end().check_order(good=True)


@pytest.mark.engines
def test_stop_presses_the_power_button():
    """One guest obeys, and restart=always has no say then; the other is killed when its time is over."""
    with begin(SPIN.format(keys="restart=always") + BUTTON) as s:
        s.expect("ends how=button")
        s.ok("stop button -t 5000")
        s.ok("stop spin -t 100")
        assert state(s, "button") == state(s, "spin") == "stopped"
        assert "has ended" in s.command("stop button").error
        s.ok("poweroff -t 100")
        run = s.end()
        assert run.output("button")[-1] == "ends button=pressed"
        assert run.reasons() == {"button": "poweroff", "spin": "killed"}
        assert run.event("vm stop", name="spin")["what"] == "it did not obey the power button"
        assert not run.events("vm restart")


@pytest.mark.engines
def test_orders_one_after_the_other():
    """The later one counts, in whatever state the VM is. A VM that has ended can be had again, also by a new name."""
    with begin(SPIN.format(keys="restart=always") + BUTTON, cpus=2) as s:
        s.expect("ends how=button")
        s.ok("pause spin")
        s.ok("restart spin")
        assert state(s, "spin") == "running"
        s.send("stop spin\rrestart spin\rkill spin\r")
        for _ in range(3):
            s.expect(session.END)
        assert state(s, "spin") == "stopped"
        s.ok("restart spin")
        s.ok("set spin weight 300")
        s.ok("start again spin mem=8M restart=never")
        assert "is running; take another name" in s.command("start again spin").error
        for _ in range(10):
            s.ok("restart again")
        s.ok("kill again")
        s.ok("kill spin")
        s.ok("start spin 2 -- how=reset")  # in its place, out of another module
        s.ok("kill button")
        s.ok("kill spin")
        assert state(s, "spin") == "stopped"
        s.ok("poweroff -t 2000")
        run = s.end()
        run.check_order(good=False)
        assert run.event("frames")["lost"] == "0"
        assert [start.get("restart") for start in run.events("vm start", name="again")][-1] == "10"
        assert run.events("vm stop", name="spin", reason="reset"), str(run)
