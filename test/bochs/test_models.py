# SPDX-License-Identifier: BSD-2-Clause
"""Each CPU model with 1, 2 and 4 CPUs, and each optional VMX feature masked: the same guests come to the same
answers."""
import pytest

import vms


def check(run, cpus):
    run.check_good_end()
    vms.check_guests(run, vms.SMALL)
    assert run.event("boot")["cpus"] == str(cpus)
    assert len([cpu for cpu in run.events("cpu") if cpu.get("vmx") == "root"]) == cpus
    # Both sums were computed beside each other; the answer depends on seed= alone.
    answers = {name: [line for line in run.output(name) if "answer=" in line] for name in ("sum1", "sum2")}
    assert answers["sum1"] and answers["sum2"] and answers["sum1"] != answers["sum2"], str(run)


# With several CPUs guests that raise exceptions seldom go astray on Bochs 3.0 (docs/running.md, quirk exception-rip).
@pytest.mark.engines
@pytest.mark.parametrize("cpus", (1, *(pytest.param(n, marks=pytest.mark.engine_fault) for n in (2, 4))))
@pytest.mark.parametrize("model", vms.MODELS)
def test_model(boot, model, cpus):
    check(boot(vms.SMALL, model=model, cpus=cpus), cpus)


@pytest.mark.parametrize("feature", vms.optional_features())
def test_without(boot, feature):
    check(boot(vms.SMALL, f"vmx.disable={feature}"), 1)


def test_without_any(boot):
    """All at once, and on two CPUs, where the timer and the kick have the most to do."""
    check(boot(vms.SMALL, "vmx.disable=" + ",".join(vms.optional_features()), cpus=2), 2)


def test_a_timer_that_counts_wrongly_is_not_used(boot):
    """Intel's errata name the CPU of this model (its signature is 0x20652)."""
    run = boot(vms.SMALL, model="corei5_arrandale_m520", cpus=2)
    check(run, 2)
    assert "signature=0x20652" in str(run) and "preemption-timer=0" in str(run)


@pytest.mark.parametrize("mitigations", ("auto", "off"))
def test_code_in_large_pages(boot, mitigations):
    """No model of Bochs denies the erratum of page sizes: large pages are split where code runs, unless
    mitigations=off."""
    run = boot(vms.SMALL, f"mitigations={mitigations}", cpus=2)
    check(run, 2)
    splits = mitigations == "auto"
    assert run.event("mitigation")["page-size-change"] == ("on" if splits else "off")
    assert run.event("vm exits", name="long").get("ept-violation", "0") == ("1" if splits else "0")


def test_the_list_is_complete():
    assert {"vpid", "preemption-timer", "ept-1g", "ept-2m", "msr-bitmap", "io-bitmap"} <= set(vms.optional_features())


def test_unknown_msrs_fault(boot):
    """As on hardware: an MSR that is not there gives #GP, which Bochs ignores unless told otherwise."""
    check(boot(vms.SMALL, features="ignore_bad_msrs=0"), 1)
