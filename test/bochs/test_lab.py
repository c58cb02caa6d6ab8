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


def check(lines, mistakes, text):
    found = answers(lines)
    assert len(found) == mistakes, text
    assert not [line for line in lines if "FAIL" in line or "the SDM says" in line], text
    kinds = {answer.split(",")[0] for answer in found.values()}
    assert {"VMfailInvalid", "error 7", "error 8", "exit reason 33", "exit reason 34"} <= kinds, text


def check_inner_guest(lines, text):
    assert lines[-4:] == ["lab: the inner guest executed CPUID with EAX=1ab", "lab: it executed HLT",
                          "lab: it executed VMCALL with EAX=4711", "lab ok"], text


@pytest.mark.engines
@pytest.mark.parametrize("model", (vms.MODELS[0], vms.MODELS[-1]))
def test_bare_cpu(model):
    run = machine.boot_bare(LAB, model)
    lines = [line for line in run.lines if line]
    check(lines, MISTAKES, str(run))
    check_inner_guest(lines, str(run))


def page_paragraphs():
    """What docs/nested.md shows of the console, a paragraph for each mistake, each as one line."""
    parts = re.findall("<!-- lab -->\n(.*?)<!-- end of lab -->", vms.read("docs/nested.md"), re.DOTALL)
    return [" ".join(paragraph.split()) for part in parts for paragraph in part.split("\n\n") if paragraph.strip()]


@pytest.mark.engines
@pytest.mark.parametrize("model", (vms.MODELS[0], vms.MODELS[-1]))
def test_in_a_vm(boot, model):
    """The same answers, and beside each entry that is refused the rule."""
    run = boot("guests/lab.vms", model=model)
    run.check_good_end()
    check(run.output("lab"), MISTAKES, str(run))
    check_inner_guest(run.output("lab"), str(run))
    refused = run.events("vm nested", name="lab")
    assert all(event["rule"] and event["field"] and event["sdm"] for event in refused), str(run)
    console, what = " ".join(" ".join(run.lines).split()), None
    for paragraph in page_paragraphs():
        assert paragraph in console, f"{paragraph}\n{run}"
    for line in run.lines:  # each mistake in an entry has a line of its own
        titled = TITLE.fullmatch(line.removeprefix("[lab] "))
        if titled:
            what = titled.group(2)
        elif line.startswith("rootlet: vm nested "):
            what = None
        elif line.startswith("[lab] lab:     ") and re.search("error [78],|exit reason", line):
            assert what is None, f"no reason for: {what}\n{run}"
