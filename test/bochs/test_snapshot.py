# SPDX-License-Identifier: BSD-2-Clause
"""VMs that are snapshotted and go back: guests/rewind does it to itself by hypercall, and checks what it finds."""
import re

import pytest

import bounds
import session
import vms


def times(run, name):
    """How often the snapshot had returned, and when, in us of guest time."""
    return [(int(n), int(us)) for n, us in re.findall(r"rewind times=(\d+) us=(\d+)", "\n".join(run.output(name)))]


@pytest.fixture(scope="module")
def rewound(boot):
    return boot(
        "build/guests/rewind.elf vm=one mem=8M -- restores=8\n"
        "build/guests/rewind.elf vm=soft mem=4M apicv=off -- restores=8\n"
        "build/guests/rewind.elf vm=two mem=4M cpus=2 -- restores=8\n"
        "build/guests/rewind.elf vm=three mem=4M cpus=3 -- restores=4 pages=200\n"
        "build/guests/hello.elf vm=neighbour mem=8M\n",
        cpus=2)


def test_all_is_as_it_was(rewound):
    """Memory, devices, and the other vCPUs' work are; armed timers fire each time; no frame is lost."""
    rewound.check_good_end()
    for name, restores, vcpus in ("one", 8, 1), ("soft", 8, 1), ("two", 8, 2), ("three", 4, 3):
        assert f"rewind ok restores={restores} vcpus={vcpus}" in rewound.output(name), str(rewound)
        assert [n for n, _ in times(rewound, name)] == list(range(restores + 1))


def test_time_goes_on(rewound):
    for name in "one", "soft", "two", "three":
        clock = [us for _, us in times(rewound, name)]
        assert clock == sorted(clock) and len(set(clock)) == len(clock), clock


def test_at_a_hypercall(boot):
    """snapshot-at=: by a number of no call, and by name. A guest's RESTORE goes back there, unless it has its own."""
    run = boot("build/guests/rewind.elf vm=one mem=8M snapshot-at=0x5eed -- restores=20 mark=24301\n"
               "build/guests/rewind.elf vm=two mem=4M cpus=2 snapshot-at=0x5eed -- restores=20 mark=24301\n"
               "build/guests/rewind.elf vm=own mem=4M snapshot-at=clock -- restores=3\n"
               "build/guests/hello.elf vm=again mem=4M snapshot-at=console-write restart=always restarts=1\n",
               "test=restart-at-once", cpus=2)
    run.check_good_end()
    for name, restores in ("one", 20), ("two", 20), ("own", 3):
        assert any(line.startswith(f"rewind ok restores={restores} ") for line in run.output(name)), str(run)
        assert len(times(run, name)) > 3
    assert [n for n, _ in times(run, "own")] == list(range(4))
    assert sorted(p["vm"] for p in run.events("snapshot", name="at") if "frames" in p) == ["again", "one", "own", "two"]
    assert [line for line in run.host_lines if line.startswith("warn:")] == \
        ["warn: snapshot vm=again name=at refused: vm=again has a snapshot at; forget it, or take another name"]


def test_what_a_restore_costs(boot):
    """The last hundred cost as much as the first; make soak does ten times as many."""
    first, _ = vms.check_restores(boot(vms.restores(1000)), 1000)
    assert first < bounds.RESTORE_TICKS


def test_on_each_way_of_the_cpu(boot):
    """Without large pages, VPIDs or the preemption timer, and with the CPU's own interrupt delivery."""
    lines = "build/guests/rewind.elf vm=one mem=4M -- restores=3\n" \
            "build/guests/rewind.elf vm=two mem=4M cpus=2 -- restores=3\n"
    for options in "vmx.disable=ept-2m,vpid", "vmx.disable=preemption-timer":
        run = boot(lines, options, cpus=2)
        run.check_good_end()
    run = boot(lines.replace("mem=4M", "mem=4M apicv=on"), cpus=1)
    run.check_good_end()


# ---- by the monitor ----

def test_a_clone_is_instant():
    """Of a VM with 256 MiB, which has written 8 MiB: soon there, and small, before it writes."""
    lines = "build/guests/rewind.elf vm=big mem=256M cpus=2 -- restores=100000 pages=2000 mark=24301\n" \
            "build/guests/timer.elf vm=timer mem=4M -- ticks=100000\n"
    with session.Session(lines, "monitor=start idle=monitor", cpus=2, memory=512) as s:
        s.expect("rewind times=")
        s.ok("snapshot big")
        answer = s.ok("clone big twin")
        clone = answer.pairs("clone", vm="twin", of="big", name="1")[0]
        assert int(clone["ticks"]) < bounds.CLONE_TICKS, clone
        own = int(answer.pairs("info: vm memory", name="twin")[0]["overhead_bytes"])
        assert own < bounds.CLONE_BYTES, own
        s.command("poweroff -t 100")
        run = s.end()
    run.check_order(good=True)


@pytest.mark.engines
@pytest.mark.parametrize("cpus", [1, 2])
def test_snapshots_at_the_console(cpus):
    """A running VM, a paused one and one that goes back all the time by itself go back and are cloned; one that was
    killed comes again."""
    lines = "build/guests/timer.elf vm=timer mem=4M -- ticks=100000\n" \
            "build/guests/spinner.elf vm=spin mem=4M limit=600000\n" \
            "build/guests/rewind.elf vm=two mem=4M cpus=2 -- restores=1000000 plain=1\n"
    with session.Session(lines, "monitor=start idle=monitor", cpus=cpus) as s:
        s.expect("rootlet> ")
        for name in "timer", "spin", "two":
            assert int(s.ok(f"snapshot {name}").pairs("snapshot", vm=name)[0]["frames"]) < 100
        s.ok("pause spin")
        s.ok("snapshot spin still")
        assert "has a snapshot still" in s.command("snapshot spin still").error
        assert "is no name" in s.command("snapshot spin a/b").error
        assert {(p["vm"], p["name"]) for p in s.ok("snapshots").pairs("snapshot")} == \
            {("timer", "1"), ("spin", "1"), ("two", "1"), ("spin", "still"), ("two", "guest")}
        for name in "timer", "spin", "two", "timer":
            s.ok(f"restore {name} 1")
        s.ok("restore timer")
        assert s.ok("list").pairs("vm", name="spin")[0]["state"] == "paused"
        assert {p["kind"] for p in s.ok("info timer").pairs("vm memory")} == {"ram", "text", "rom"}
        if cpus == 2:
            s.ok("vmx off 0")
            for line in "snapshot timer off", "restore timer", "clone timer off":
                assert "CPU 0 has left VMX operation" in s.command(line).error
            s.ok("vmx on 0")
        for name in "timer", "spin", "two":
            s.ok(f"clone {name} {name}-2 1")
            assert s.ok("list").pairs("vm", name=f"{name}-2")[0]["state"] == "running"
        assert "take another name" in s.command("clone timer spin").error
        s.ok("kill timer")
        s.ok("restore timer")
        assert s.ok("list").pairs("vm", name="timer")[0]["state"] == "running"
        s.ok("restore timer")
        for line in "restore hello", "clone hello new", "forget spin nothing", "restore spin nothing":
            assert "has no snapshot" in s.command(line).error
        s.ok("forget spin still")
        s.ok("forget timer 1")
        s.ok("resume spin")
        s.ok("stats")
        assert not s.command("poweroff -t 100").error
        run = s.end()
        run.check_order(good=True)
        assert set(run.reasons().values()) <= {"killed", "exit"}, str(run)


def test_a_cpu_leaves_vmx_while_all_go_back():
    """vmx off has all VMs rest at once, and each of these is paused and goes on all the time by its own wish."""
    lines = "".join(f"build/guests/rewind.elf vm=back{i} mem=4M cpus=2 -- restores=1000000 plain=1\n" for i in range(3))
    with session.Session(lines, "monitor=start idle=monitor", cpus=2) as s:
        s.expect("rootlet> ")
        for cpu in "0", "1", "0", "1", "0", "1":
            assert s.ok(f"vmx off {cpu}").pairs("cpu", id=cpu, vmx="off")
            s.ok(f"vmx on {cpu}")
        assert [vm["state"] for vm in s.ok("list").pairs("vm")] == ["running"] * 3
        assert not s.command("poweroff -t 100").error
        s.end().check_order(good=True)
