# SPDX-License-Identifier: BSD-2-Clause
"""A bug of the hypervisor itself: the dump names vector, registers and functions, all CPUs stop, the run fails."""
import os
import re
import subprocess

import pytest

import machine

HELLO = "build/guests/hello.elf vm=hello mem=8M\n"


@pytest.mark.parametrize(
    "kind, cpus, words",
    [
        ("ud", 1, r"#UD invalid opcode"),
        ("pf", 2, r"#PF page fault error=0x2 address=0x0+ "),
        ("nx", 1, r"#PF page fault error=0x11 "),
        ("wp", 1, r"#PF page fault error=0x3 "),
        ("stack", 2, r"#DF double fault|#PF page fault"),
    ],
)
def test_host_exception(boot, kind, cpus, words):
    run = boot(HELLO, f"test={kind}", cpus=cpus)
    assert run.status == 1 and "panicked" in run.verdict, str(run)
    panic = [line for line in run.host_lines if line.startswith("panic")]
    assert len(panic) == 1 and re.search(words, panic[0] + " "), str(run)
    assert any(re.search(r"rip=[0-9a-f]{16} cs=", line) for line in run.host_lines), str(run)
    names = re.findall(r"#\d+ 0x[0-9a-f]+ (\w+)\+0x", "\n".join(run.host_lines))
    assert {"traps_provoke", "kernel_main", "overflow_stack"} & set(names), str(run)
    assert run.event("end")["status"] == "fail"
    assert [line for line in run.lines if line][-1] == "rootlet: end status=fail", str(run)
    assert "ACPI control: soft power off" in run.log or "Shutdown port" in run.log, str(run)


def test_panic_tells_what_the_cpus_did_before(boot):
    """The last records of all CPUs and VMs, oldest first, after the backtrace."""
    run = boot(HELLO, "test=panic-at-end", cpus=2)
    assert run.status == 1 and "panicked" in run.verdict, str(run)
    records = [line for line in run.host_lines if line.startswith("last ")]
    assert 8 <= len(records) <= 32, str(run)
    times = [int(re.search(r"tsc=(\d+)", line).group(1)) for line in records]
    assert times == sorted(times), str(run)
    guest = [line for line in records if " vm=1 " in line]  # the CPUs' own come between and after
    assert re.search(r"vcpu=0 vmcall rip=0x[0-9a-f]+ call=0x\d+ left ", guest[-3]), str(run)
    assert guest[-2].endswith(" leave stopped") and guest[-1].endswith(" vm-stop reason=exit"), str(run)
    assert [line for line in run.lines if line][-1] == "rootlet: end status=fail", str(run)


def symbolize(run, *arguments):
    command = [os.path.join(machine.TREE, "tools", "symbolize"), *arguments]
    return subprocess.run(command, input="\n".join(run.lines), cwd=machine.TREE, capture_output=True, text=True,
                          check=False)


def test_backtrace_has_lines_of_the_source(boot):
    """The runner resolves a panic's backtrace by itself, inlined functions included; tools/symbolize says the same."""
    run = boot(HELLO, "test=ud")
    result = symbolize(run)
    assert result.returncode == 0, result.stderr
    with open(os.path.join(machine.TREE, "arch/x86/traps.c"), encoding="utf-8") as file:
        ud2 = next(number for number, line in enumerate(file, 1) if "cpu_undefined()" in line or '"ud2"' in line)
    assert f"traps_provoke at arch/x86/traps.c:{ud2}" in result.stdout, result.stdout
    assert re.search(r"kernel_main at kernel/start/main\.c:\d+\n", result.stdout), result.stdout
    for line in result.stdout.splitlines():
        assert f"run-bochs: {line}" in run.verdict.splitlines(), run.verdict
    assert run.verdict.splitlines()[-1].startswith("run-bochs: FAIL: the hypervisor panicked")


def test_wrong_kernel_is_said(boot, tmp_path):
    """Another file than the one that ran gives no wrong lines."""
    run = boot(HELLO, "test=ud")
    source = tmp_path / "other.c"
    source.write_text("void kernel_main(void) {} void boot_entry_linked(void) {} void _start(void) {}\n")
    subprocess.run(["gcc", "-nostdlib", "-static", "-o", str(tmp_path / "other"), str(source)], check=True)
    result = symbolize(run, "--kernel", str(tmp_path / "other"))
    assert result.returncode == 1 and "is not the file that ran" in result.stderr and not result.stdout
    result = symbolize(run, "--kernel", str(source))
    assert result.returncode == 1 and "other.c" in result.stderr
    result = symbolize(run, "--kernel", str(tmp_path / "none"))
    assert result.returncode == 1 and "No such file" in result.stderr


def test_stopped_guest_is_named(boot):
    """The report of a triple fault has the guest's function and its callers, by name and by line."""
    run = boot("build/guests/triple.elf vm=three mem=8M\nbuild/guests/long64.elf vm=long mem=8M dump=regs\n"
               "build/guests/bootsector.bin vm=real mem=2M dump=regs\n")
    names = [re.sub(r"\+0x.*", "", frame["function"]) for frame in run.events("vm frame", name="three")]
    assert names[:4] == ["fall", "step_over_the_edge", "guest_main", "guest_start"], str(run)
    rip = next(regs for regs in run.events("vm regs", name="three") if "rip" in regs)
    assert rip["function"].startswith("fall+0x"), str(run)
    rip = next(regs for regs in run.events("vm regs", name="long") if "rip" in regs)
    assert rip["function"].startswith("guest_exit+0x"), str(run)
    assert not [regs for regs in run.events("vm regs", name="real") if "function" in regs], str(run)
    result = symbolize(run, "--guest", "three=build/guests/triple.elf")
    assert result.returncode == 0 and "fall at guests/triple/triple.c:" in result.stdout, result.stdout + result.stderr
    assert "guest_main at guests/triple/triple.c:" in result.stdout
    result = symbolize(run)
    assert result.returncode == 1 and "--guest long=ELF" in result.stderr
