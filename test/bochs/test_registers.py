# SPDX-License-Identifier: BSD-2-Clause
"""Registers that no VM exit switches: several VMs on one CPU, each with a pattern of its own, and others that come
late and look at what they find first."""
import pytest

import vms

VMS = """\
build/guests/registers.elf vm=a     mem=4M affinity=0
build/guests/registers.elf vm=b     mem=4M affinity=0 weight=300
build/guests/registers.elf vm=c     mem=4M affinity=0 -- dr=late
build/guests/registers.elf vm=late  mem=4M affinity=0 -- dr=off late=20
build/guests/registers.elf vm=later mem=4M affinity=0 -- late=70 ms=10
"""
NAMES = ("a", "b", "c", "late", "later")


def check(run):
    run.check_good_end()
    for name in NAMES:
        assert run.event("vm stop", name=name)["reason"] == "exit", str(run)
        assert f"[{name}] registers fresh" in run.lines, str(run)
        assert any(line.startswith(f"[{name}] registers ok") for line in run.lines), str(run)
        assert int(run.event("vm stats", name=name)["slices"]) > 3, str(run)


@pytest.mark.parametrize("model", vms.MODELS)
def test_nothing_of_another_vm(boot, model):
    check(boot(VMS, model=model))


def test_without_msr_bitmaps(boot):
    check(boot(VMS, "vmx.disable=msr-bitmap"))


def test_on_two_cpus(boot):
    """They move, and are loaded by another CPU than the one that saved them."""
    check(boot(VMS.replace(" affinity=0", ""), cpus=2))
