# SPDX-License-Identifier: BSD-2-Clause
"""guests/lab, a small hypervisor that makes typical mistakes first: what the CPU says of each is what the SDM says."""
import re

import pytest

import machine
import vms

LAB = "build/guests/lab.elf"
MISTAKES = 57
TITLE = re.compile(r"lab: +(\d+)\. (.+)")


def answers(lines):
    """What was done wrong -> what the CPU said of it, in the order of the tour."""
    found, what = {}, None
    for line in lines:
        named = TITLE.fullmatch(line)
        if named:
            what = named.group(2)
            assert int(named.group(1)) == len(found) + 1, line
        elif line.startswith("lab:     "):
            found[what] = line.removeprefix("lab:     ")
    return found


def check(lines, text):
    found = answers(lines)
    assert len(found) == MISTAKES, text
    assert not [line for line in lines if "FAIL" in line or "the SDM says" in line], text
    kinds = {answer.split(",")[0] for answer in found.values()}
    assert {"VMfailInvalid", "error 7", "error 8", "exit reason 33", "exit reason 34"} <= kinds, text
    assert lines[-4:] == ["lab: the inner guest executed CPUID with EAX=1ab", "lab: it executed HLT",
                          "lab: it executed VMCALL with EAX=4711", "lab ok"], text


@pytest.mark.engines
@pytest.mark.parametrize("model", (vms.MODELS[0], vms.MODELS[-1]))
def test_bare_cpu(model):
    run = machine.boot_bare(LAB, model)
    check([line for line in run.lines if line], str(run))
