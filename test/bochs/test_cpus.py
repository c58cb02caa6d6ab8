# SPDX-License-Identifier: BSD-2-Clause
"""CPUs that are not like the boot CPU: named and left out, or made alike; the machine goes on."""
import re

HELLO = "build/guests/hello.elf vm=hello mem=8M\nbuild/guests/smp.elf vm=smp mem=4M cpus=2\n"


def boot_odd(boot, test):
    run = boot(HELLO, f"test={test}", cpus=2)
    run.check_good_end()
    assert len(run.events("cpu", vmx="root")) == int(run.event("boot")["cpus"])
    return run


def left_out(run):
    assert run.event("boot")["cpus"] == "1" and run.event("cpus")["online"] == "1"
    (line,) = [line for line in run.host_lines if " is left out: " in line]
    return line


def test_tscs_are_alike(boot):
    """Nothing is said of the TSCs of Bochs, which are."""
    run = boot(HELLO, cpus=2)
    run.check_good_end()
    assert run.event("boot")["cpus"] == "2" and "tsc moved=" not in str(run)


def test_tsc_is_put_right(boot):
    """5 ms at 50 MHz are 250000 ticks; half a round trip is the error."""
    run = boot_odd(boot, "tsc-skew")
    moved = int(run.event("cpu apic=1 tsc")["moved"])
    assert run.event("boot")["cpus"] == "2" and abs(moved + 250000) < 50


def test_tsc_cannot_be_put_right(boot):
    line = left_out(boot_odd(boot, "tsc-stuck"))
    assert re.search(r"cpu apic=1 is left out: its TSC differs from the boot CPU's by (249|250)\d{3} ticks", line), line


def test_cpu_with_less_vmx(boot):
    line = left_out(boot_odd(boot, "cpu-differs"))
    assert line.endswith("cpu apic=1 is left out: it lacks the secondary processor-based control 'enable EPT'"), line
