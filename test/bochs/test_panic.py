"""A bug of the hypervisor itself: the dump names vector, registers and functions, all CPUs stop, the run fails."""
import re

import pytest

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
    run = boot(HELLO, f"test={kind}", cpus=cpus, limit=60)
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
    run = boot(HELLO, "test=panic-at-end", cpus=2, limit=60)
    assert run.status == 1 and "panicked" in run.verdict, str(run)
    records = [line for line in run.host_lines if line.startswith("last ")]
    assert 8 <= len(records) <= 32, str(run)
    times = [int(re.search(r"tsc=(\d+)", line).group(1)) for line in records]
    assert times == sorted(times), str(run)
    assert re.search(r"vm=1 vcpu=0 vmcall rip=0x[0-9a-f]+ call=0x\d+ left ", records[-3]), str(run)
    assert re.search(r"vm=1 vcpu=0 leave stopped$", records[-2]) and records[-1].endswith("vm-stop reason=exit"), str(run)
    assert [line for line in run.lines if line][-1] == "rootlet: end status=fail", str(run)
