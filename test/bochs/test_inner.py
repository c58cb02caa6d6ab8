# SPDX-License-Identifier: BSD-2-Clause
"""guests/inner, a hypervisor whose inner guests try one thing after the other. The same program passes on the bare CPU,
which shows that what it wants is what a CPU does."""
import pytest

import machine
import session
import vms

INNER = "build/guests/inner.elf"
MODELS = (vms.MODELS[0], vms.OLD_MODELS[-1], vms.MODELS[-1])


def scenarios(lines, text):
    """The names of those that are ok, and of those that the CPU has not. None has failed."""
    assert not [line for line in lines if "FAIL" in line], text
    good = {line.removeprefix("inner: ").removesuffix(" ok") for line in lines if line.endswith(" ok")} - {"inner"}
    out = {line.removeprefix("inner: ").split(" left out: ")[0] for line in lines if " left out: " in line}
    assert len(good) > 80 and f"inner: {len(good) + len(out)} scenarios, 0 failed" in lines, text
    assert "inner ok" in lines, text
    return good, out


@pytest.mark.engines
@pytest.mark.parametrize("model", MODELS)
def test_scenarios(boot, model):
    """What the bare CPU has the VM has, too, but for MONITOR and MWAIT, which guests have not. With two vCPUs, or with
    one, also on two CPUs or one."""
    cpus = 2 if model == MODELS[0] else 1
    bare = machine.boot_bare(INNER, model, cpus=cpus)
    good_bare, out_bare = scenarios([line for line in bare.lines if line], str(bare))
    run = boot(f"{INNER} vm=inner mem=32M cpus={cpus} nested=on\n", model=model, cpus=cpus)
    vms.check_guest(run, "inner", "inner.elf")
    run.check_good_end()
    good, out = scenarios(run.output("inner"), str(run))
    assert good_bare - {"MONITOR", "MWAIT"} <= good and good | out == good_bare | out_bare, str(run)


@pytest.mark.engines
def test_stop_inside(boot):
    """The limit is reached while the inner guest runs: nothing is lost, and nothing is freed twice."""
    run = boot(f"{INNER} vm=inner mem=8M nested=on limit=100 -- stay=1\n"
               f"{INNER} vm=again mem=8M nested=on limit=100 restart=always restarts=1 -- stay=1\n")
    assert "inner stays" in run.output("inner"), str(run)
    assert {stop["reason"] for stop in run.events("vm stop")} == {"limit"}, str(run)
    run.check_good_end()


def move(s, name, cpu):
    """Until the vCPU is there: it goes when it is scheduled next."""
    s.ok(f"set {name} affinity {cpu}")
    for _ in range(100):
        if s.ok(f"info {name}").pairs("vm vcpu", name=name, cpu=str(cpu)):
            return
    raise AssertionError(f"{name} does not come to CPU {cpu}")


@pytest.mark.engines
def test_moves():
    """A vCPU goes to the other CPU while its inner guests run, and is paused; then it is killed, as is one whose inner
    guest never exits."""
    with session.Session(f"{INNER} vm=inner mem=32M nested=on -- rounds=100000\n"
                         f"{INNER} vm=stays mem=8M nested=on -- stay=1\n", cpus=2) as s:
        s.expect("inner stays")
        s.open()
        for cpu in (1, 0, 1):
            move(s, "inner", cpu)
            move(s, "stays", 1 - cpu)
        s.ok("pause inner")
        s.ok("resume inner")
        s.ok("regs stays")
        s.ok("kill stays")
        s.expect("inner: VPIDs ok")
        s.send("kill inner\r")
        run = s.end()
    run.check_fail_end()  # a VM that was killed has failed
    assert not [line for line in run.output("inner") if "FAIL" in line], str(run)
    assert run.reasons() == {"inner": "killed", "stays": "killed"}, str(run)
    for name in ("inner", "stays"):  # it may have begun where it went first
        assert int(run.event("vm stats", name=name)["migrations"]) >= 2, str(run)
