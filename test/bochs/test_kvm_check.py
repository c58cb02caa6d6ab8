# SPDX-License-Identifier: BSD-2-Clause
"""Debian's KVM checks itself (guests/linux/kvm_check.c): on the bare machine, and as a guest with nested=on."""
import re

import pytest

import machine

KERNEL, INITRD = "build/kvm/stack/vmlinuz", "build/guests/linux/kvm.gz"
BOOT_SECONDS = 1800
# The kernel warns so of a timer interrupt that came late, as in an emulator it may; that is no fault of KVM.
LATE_TIMER = "hrtimer: interrupt took"
# What Linux needs on bare Bochs: tools/kvm_stack.py says why.
BARE_WORDS = "console=ttyS0 quiet cryptomgr.notests nokaslr clearcpuid=321,323 tsc_early_khz=50000 enable_apicv=0"


def check_loaded(lines, cpus, text):
    assert [line for line in lines if line.startswith("kvm: linux ") and line.endswith(f" cpus={cpus}")], text
    warned = [line for line in lines if line.startswith("kvm: warned: ") and LATE_TIMER not in line]
    assert not warned, text
    assert not [line for line in lines if "FAIL: insmod" in line], text


def check_guest_ran(lines, text):
    assert [line for line in lines if re.fullmatch("kvm: .", line)] == [f"kvm: {letter}" for letter in "RMTPLSE"], text
    assert "kvm ok" in lines and "kvm: status=0" in lines, text


def test_bare_cpu():
    """What the check is worth: it passes on the CPU itself."""
    run = machine.boot_bare_linux(KERNEL, INITRD, BARE_WORDS, cpus=2, memory=512, limit=BOOT_SECONDS)
    lines = [line.rstrip() for line in run.lines]
    check_loaded(lines, 2, str(run))
    check_guest_ran(lines, str(run))


@pytest.mark.engines
def test_in_vms(boot):
    """What make kvm-check boots, with two vCPUs; and beside it one vCPU, where KVM's two are threads of one CPU."""
    with open(f"{machine.TREE}/guests/kvm.vms", encoding="utf-8") as file:
        text = file.read()
    assert " cpus=2 " in text
    run = boot(text + text.replace(" cpus=2 ", " cpus=1 ").replace("vm=kvm ", "vm=kvm1 "), cpus=2, memory=512,
               limit=BOOT_SECONDS)
    run.check_good_end()
    for name, cpus in ("kvm", 2), ("kvm1", 1):
        check_loaded(run.output(name), cpus, str(run))
        check_guest_ran(run.output(name), str(run))
