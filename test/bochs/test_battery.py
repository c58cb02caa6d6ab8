# SPDX-License-Identifier: BSD-2-Clause
"""VM entries that fail: what the hypervisor says of them, and that the checker says what Bochs does."""
import os
import re
import subprocess

import pytest

import machine
import vms

BATTERY = os.path.join(machine.TREE, "tools/battery")
EXPLAIN = os.path.join(machine.TREE, "tools/explain")


def run(*command):
    result = subprocess.run(command, cwd=machine.TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False)
    return result.returncode, result.stdout


@pytest.mark.parametrize("model", vms.MODELS)
def test_sample_of_the_battery(model):
    status, output = run(BATTERY, "--sample", "--model", model)
    assert status == 0, output
    entries = int(output.split(" entries:")[0].split()[-1])
    assert entries > 300, output


@pytest.mark.engines
def test_sample_in_a_vm():
    """Entries by a guest hypervisor: each ends as on the bare CPU, or docs/entry-checks.md says why not."""
    status, output = run(BATTERY, "--nested", "--sample")
    assert status == 0, output
    entries = [int(number) for number in re.findall(r"(\d+) entries ", output)]
    assert len(entries) == 2 and min(entries) > 300, output


def test_tour_is_what_the_page_shows():
    status, output = run(EXPLAIN, "--check")
    assert status == 0, output


def log_of(tmp_path, *lines):
    path = tmp_path / "bochs.log"
    path.write_text("".join(f"00230151026{line}\n" for line in lines), encoding="ascii")
    return run(BATTERY, "--only", "1", "--read", str(path))


def rule(name):
    """Its number: the place of its row in the table."""
    with open(os.path.join(machine.TREE, "vmx/check/rules.h"), encoding="utf-8") as file:
        rows = [line.strip() for line in file if line.lstrip().startswith("R(")]
    return next(number for number, row in enumerate(rows) if row.startswith(f"R({name},"))


def test_battery_accepts_what_agrees(tmp_path):
    status, output = log_of(
        tmp_path,
        "i[BIOS  ] B x", "i[BIOS  ] C 1 154=0", f"i[BIOS  ] P 3 0 0 {rule('RFLAGS')}:154",
        "e[CPU0  ] VMENTER FAIL: RFLAGS[1] cleared", "i[BIOS  ] R exit 80000021 0",
        "i[BIOS  ] C 2 154=2", "i[BIOS  ] P 0 0 0", "i[BIOS  ] R exit 34 0",
    )
    assert status == 0 and "2 entries: 1 enters, 1 exit 33" in output, output


def test_battery_sees_each_kind_of_disagreement(tmp_path):
    broken = f"i[BIOS  ] P 3 0 0 {rule('RFLAGS')}:154"
    fine = "i[BIOS  ] P 0 0 0"
    said = "e[CPU0  ] VMENTER FAIL: RFLAGS[1] cleared"
    for what in (
        (broken, "i[BIOS  ] R exit 34 0"),  # it enters all the same
        (fine, said, "i[BIOS  ] R exit 80000021 0"),  # it does not enter
        (broken, said, "i[BIOS  ] R error 7"),  # it fails in another way
        (broken, said, "i[BIOS  ] R exit 80000021 4"),  # with another qualification
        (broken, "e[CPU0  ] VMENTER FAIL: VMCS guest invalid CR0", "i[BIOS  ] R exit 80000021 0"),  # by another rule
        (broken, "e[CPU0  ] VMENTER FAIL: something new", "i[BIOS  ] R exit 80000021 0"),  # by a rule that nobody knows
        (broken, "i[BIOS  ] R exit 80000021 0"),  # without a word
    ):
        status, output = log_of(tmp_path, "i[BIOS  ] B x", "i[BIOS  ] C 1 154=0", *what)
        assert status == 1 and "DISAGREEMENT" in output, f"{what}\n{output}"


def pair_of(tmp_path, verdicts, *lines):
    (tmp_path / "bochs.log.vm").write_text(f"[battery] V 1 {verdicts}\n", encoding="ascii")
    path = tmp_path / "bochs.log"
    path.write_text("".join(f"00230151026{line}\n" for line in lines), encoding="ascii")
    return run(BATTERY, "--nested", "--only", "1", "--read", str(path))


PAIR = (
    "i[BIOS  ] B x", "i[BIOS  ] C 1 154=0", f"i[BIOS  ] P 3 0 0 {rule('RFLAGS')}:154",
    "e[CPU0  ] VMENTER FAIL: RFLAGS[1] cleared", "i[BIOS  ] R exit 80000021 0",
    "i[BIOS  ] C 2 154=2", "i[BIOS  ] P 0 0 0", "i[BIOS  ] R exit 34 0",
)


def test_pair_accepts_what_agrees(tmp_path):
    status, output = pair_of(tmp_path, "30 00", *PAIR)
    assert status == 0 and "2 end alike at both levels; 0 were" in output, output
    status, output = pair_of(tmp_path, "30", *PAIR)
    assert status == 0 and "1 end alike at both levels; 1 were" in output, output


@pytest.mark.parametrize("verdicts", ("00 00", "30 30", "30 x0", "10 00", "34 00", "30! 00"))
def test_pair_sees_each_kind_of_difference(tmp_path, verdicts):
    status, output = pair_of(tmp_path, verdicts, *PAIR)
    assert status == 1 and "DIFFERENCE in 1 cases" in output, output


def test_failed_entry_of_a_guest_names_the_rule(boot):
    """Bochs refuses the entry into a state that badstate has led the CPU into; the rest of the machine goes on."""
    run_ = boot("build/guests/badstate.elf vm=bad mem=4M\nbuild/guests/hello.elf vm=hello mem=4M\n")
    run_.check_fail_end()
    line = run_.event("vm entry", name="bad", vcpu=0, field="GUEST_ES_ACCESS")
    assert line["rule"] == "bit 0 of the type (accessed) must be 1 if usable", str(run_)
    assert line["sdm"] == "3C 26.3.1.2 Checks on Guest Segment Registers", str(run_)
    assert "VMENTER FAIL: VMCS guest ES not ACCESSED" in run_.log
    verdict = [entry for entry in run_.events("vm entry", name="bad") if "failed" in entry]
    assert [entry["failed"] for entry in verdict] == ["exit reason 33, qualification 0"], str(run_)
    assert verdict[0]["checked"].startswith("1 broken: exit reason 33"), str(run_)
    assert 10 < len(run_.events("vm vmcs", name="bad")) <= 60, str(run_)
    assert run_.reasons() == {"bad": "entry-failure", "hello": "exit"}, str(run_)


def test_vmfail_names_the_rule(boot):
    """test=bad-entry spoils a control field of each vCPU."""
    run_ = boot("build/guests/hello.elf vm=one mem=4M\nbuild/guests/hello.elf vm=two mem=4M\n",
                options="test=bad-entry", cpus=2)
    run_.check_fail_end()
    for name in ("one", "two"):
        line = run_.event("vm entry", name=name, field="CR3_TARGET_COUNT")
        assert line["sdm"] == "3C 26.2.1.1 VM-Execution Control Fields", str(run_)
        assert run_.event("vm stop", name=name)["error"] == "7", str(run_)
        failed = [e["failed"] for e in run_.events("vm entry", name=name) if "failed" in e]
        assert failed == ["VMfailValid, error 7"], str(run_)


def test_dump_of_the_vmcs(boot):
    """Once per vCPU, for a VM that ends well."""
    run_ = boot("build/guests/smp.elf vm=smp mem=4M cpus=2 dump=vmcs\n", cpus=1)
    run_.check_good_end()
    for vcpu in ("0", "1"):
        text = "\n".join(line for line in run_.host_lines if line.startswith(f"vm vmcs name=smp vcpu={vcpu} "))
        assert text.count(" GUEST_RIP=0x") == 1 and text.count(" HOST_RIP=0xffffffff8") == 1, str(run_)
        assert "external-interrupt exiting, NMI exiting, virtual NMIs, VMX-preemption timer" in text, str(run_)
    assert not run_.events("vm entry"), str(run_)
