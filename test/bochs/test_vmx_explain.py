# SPDX-License-Identifier: BSD-2-Clause
"""tools/vmx-explain: public dumps and their answers, exit statuses, options, what the CPU says."""
import json
import os
import subprocess
import sys

import pytest

import machine

TOOL = os.path.join(machine.TREE, "tools", "vmx-explain")
DUMPS = os.path.join(machine.TREE, "test", "dumps")
sys.path.insert(0, DUMPS)
from expected import EXPECTED  # noqa: E402


def explain(*arguments, text=None):
    return subprocess.run([TOOL, *arguments], input=text, capture_output=True, text=True, check=False)


def answer(*arguments, text=None):
    result = explain("--json", *arguments, text=text)
    return result.returncode, json.loads(result.stdout)


@pytest.mark.parametrize("name,status,rules", EXPECTED, ids=[row[0] for row in EXPECTED])
def test_public_dumps(name, status, rules):
    got, found = answer(os.path.join(DUMPS, name))
    assert [(item["rule"], item["field"]) for item in found["broken"]] == rules
    assert got == status
    assert all(item["cause"] and item["sdm"] and item["words"] for item in found["broken"])
    assert found["not_understood"] == []


def test_every_dump_has_an_answer():
    assert sorted(row[0] for row in EXPECTED) == sorted(
        name for name in os.listdir(DUMPS) if name.endswith(".txt"))


def test_the_text_says_what_where_and_why():
    result = explain(os.path.join(DUMPS, "kvm-a.txt"))
    assert result.returncode == 0
    for part in ("The CPU says: exit reason 33", "1. GUEST_INTERRUPTIBILITY = 0x9  (line 24)", "bit 0 'STI' must be 0",
                 "rule: blocking by STI must be 0 if RFLAGS.IF is 0", "3C 26.3.1.5", "cause: Blocking by STI"):
        assert part in result.stdout
    assert "GUEST_CR3 (0x6802) = 0x13cbf4002" not in result.stdout
    assert "GUEST_CR3 (0x6802) = 0x13cbf4002" in explain("--all", os.path.join(DUMPS, "kvm-a.txt")).stdout


def with_xen_a(*options):
    status, found = answer(*options, os.path.join(DUMPS, "xen-a.txt"))
    return status, [(item["rule"], item["needs_cpu"]) for item in found["unjudged"]]


def test_what_the_cpu_can_is_asked_for(tmp_path):
    """PCIDE of the guest's CR4 is right if the CPU has it: open without its MSRs, decided with them."""
    open_rule = [("CR4_FIXED", ["IA32_VMX_CR4_FIXED1"])]
    assert with_xen_a() == (0, open_rule)
    assert with_xen_a("--model", "corei7_haswell_4770") == (0, open_rule[:0])
    caps = tmp_path / "caps"
    caps.write_text("0x489 0x3767ff\n")
    assert with_xen_a("--caps", str(caps)) == (0, [])
    caps.write_text("# rdmsr -a 0x489\n1567ff\n1567ff\n")  # without PCIDE
    status, found = answer("--caps", str(caps), os.path.join(DUMPS, "xen-a.txt"))
    assert status == 0 and [item["rule"] for item in found["broken"]] == ["CR4_FIXED", "DEBUG_STEP"]
    caps.write_text("flags\t\t: fpu fsgsbase smep xsave\nvmx flags\t: vnmi ept\naddress sizes\t: 39 bits physical, "
                    "48 bits virtual\n")
    _, found = answer("--caps", str(caps), os.path.join(DUMPS, "xen-a.txt"))
    assert "CR4_FIXED" in [item["rule"] for item in found["broken"]]
    caps.write_text("nothing here\n")
    _, found = answer("--caps", str(caps), os.path.join(DUMPS, "xen-a.txt"))
    assert any("no capability" in remark for remark in found["remarks"])


def test_standard_input_and_wrong_input(tmp_path):
    assert explain(text="hello\n").returncode == 2
    assert "no dump of a VMCS" in explain(text="hello\n").stderr
    assert explain("/nowhere").returncode == 2
    assert "No such file" in explain("/nowhere").stderr
    unknown = explain("--model", "pentium", text="x")
    assert unknown.returncode == 2 and "corei7_skylake_x" in unknown.stderr
    assert explain("--caps", str(tmp_path / "none"), text="x").returncode == 2
    assert explain("--dump", "2", os.path.join(DUMPS, "kvm-a.txt")).returncode == 2
    status, found = answer(text="GUEST_RFLAGS=0x0\n")
    assert status == 0 and found["broken"][0]["rule"] == "RFLAGS"


def test_what_the_cpu_says_is_used():
    """The same fields under other verdicts of the CPU."""
    fields = "GUEST_RFLAGS=0x0\nPIN_CONTROLS=0x0\n"
    _, found = answer(text="exit reason 33\n" + fields)
    assert [item["rule"] for item in found["broken"]] == ["RFLAGS", "PIN_ALLOWED"]
    assert any(remark.startswith("contradiction") for remark in found["remarks"])
    _, found = answer(text="KVM: entry failed, hardware error 0x7\n" + fields)
    assert [item["rule"] for item in found["broken"]] == ["PIN_ALLOWED", "RFLAGS"]
    status, found = answer(text="VM-instruction error: 8\n" + fields)
    assert status == 1 and any(remark.startswith("contradiction") for remark in found["remarks"])
    status, found = answer(text="VM-instruction error: 5\nGUEST_RFLAGS=0x2\n")
    assert status == 0 and found["broken"][0]["rule"] == "RESUME_LAUNCHED"
