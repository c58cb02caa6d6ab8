# SPDX-License-Identifier: BSD-2-Clause
"""Debian's kernels, as they come from the archive: several vCPUs on fewer CPUs, and a shell in the terminal."""
import lzma
import os
import re
import subprocess

import pexpect
import pytest

import machine

KERNEL, STANDARD, INITRD = (f"build/payloads/{name}" for name in ("vmlinuz-cloud", "vmlinuz", "initrd.gz"))
BOOT_SECONDS = 1800  # on a machine that does other things too
ANSWER_SECONDS = 300
# Said at any level, these mean that the virtual PC's clocks, interrupt controllers or CPUs are not what they should be.
BAD_WORDS = re.compile(
    r"unstable|watchdog: Marking|timekeeping watchdog|XSAVE consistency|APIC error|APIC calibration|MP-BIOS bug"
    r"|unexpected IRQ trap"
    r"|No config space access|does not support PCI|smpboot: .*not responding|Firmware Bug|segfault"
    r"|Call Trace|nobody cared|TSC synchronization",
)
SHELL_PROMPT = r"/ # "


def linux(name, cpus, mem, kernel=KERNEL, keys="", words=""):
    """The two lines of a VM whose init checks that it has what it was given."""
    return (f"{kernel} vm={name} mem={mem}M cpus={cpus} {keys} "
            f"-- console=ttyS0 panic=1 want_cpus={cpus} want_mem={mem} want_name={name} {words}\n"
            f"{INITRD} vm={name} role=initrd\n")


def check_linux(run, name, cpus, mem):
    """It came up as it should, its init found everything right (guests/linux/init says what), and it ended itself."""
    assert run.event("vm stop", name=name)["reason"] == "poweroff", str(run)
    output = run.output(name)
    look = [line for line in output if line.startswith("init: kernel=")]
    assert len(look) == 1, str(run)
    found = dict(machine.PAIR.findall(look[0]))
    assert (found["cpus"], found["online"]) == (str(cpus), "0" if cpus == 1 else f"0-{cpus - 1}"), look
    assert (found["ram_mib"], found["clocksource"]) == (str(mem), "tsc"), look
    dmi = next((line for line in output if line.startswith("init: dmi ")), "")
    assert dmi.startswith(f"init: dmi vendor=Rootlet product={name} serial={name} uuid="), str(run)
    wrong = [line for line in output if line.startswith("init: wrong")]
    assert "init: result=ok" in output and not wrong, "\n".join(output)
    assert not [line for line in output if BAD_WORDS.search(line)], "\n".join(output)


def unpack_vmlinux(path):
    """Writes the ELF file that is packed in the standard kernel's bzImage, at the place that its setup header names."""
    with open(os.path.join(machine.TREE, STANDARD), "rb") as file:
        image = file.read()
    start = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    packed = image[start : start + int.from_bytes(image[0x24C:0x250], "little")]
    # zstd (Debian 13); the kernel's build puts four bytes behind it, the unpacked size.
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        path.write_bytes(subprocess.run(["zstd", "-dc"], input=packed[:-4], stdout=subprocess.PIPE, check=True).stdout)
    else:
        path.write_bytes(lzma.LZMADecompressor().decompress(packed))


@pytest.mark.engines
def test_two_vcpus_on_two_cpus(boot):
    """What make linux boots."""
    run = boot("guests/linux.vms", cpus=2, memory=512, limit=BOOT_SECONDS)
    run.check_good_end()
    check_linux(run, "debian", 2, 256)


def test_a_cpu_goes_off_and_comes_back(boot):
    """Linux takes it down by its own HLT loop, and starts it by INIT and SIPI."""
    run = boot(linux("hotplug", 2, 160, words="hotplug cryptomgr.notests"), cpus=2, limit=BOOT_SECONDS)
    run.check_good_end()
    check_linux(run, "hotplug", 2, 160)
    assert "init: hotplug online=0-1" in run.output("hotplug"), str(run)


def test_four_vcpus_on_two_cpus(boot):
    run = boot(linux("four", 4, 192), cpus=2, limit=BOOT_SECONDS)
    run.check_good_end()
    check_linux(run, "four", 4, 192)
    assert run.event("vm start", name="four")["kind"] == "linux"


def test_standard_kernel(boot):
    """Most of its time goes into unpacking itself, on one vCPU however many there are."""
    run = boot(linux("standard", 1, 160, STANDARD), limit=BOOT_SECONDS)
    run.check_good_end()
    check_linux(run, "standard", 1, 160)
    assert "-cloud-" not in next(line for line in run.output("standard") if line.startswith("init: kernel=")), str(run)


@pytest.fixture(scope="module")
def shell():
    """`make shell` at its first prompt."""
    child = pexpect.spawn("make", ["--no-print-directory", "shell"], cwd=machine.TREE, timeout=BOOT_SECONDS,
                          encoding="utf-8", codec_errors="replace", env=dict(os.environ, MAKEFLAGS=""))
    child.expect("init: a shell; poweroff or exit ends it")
    child.expect(SHELL_PROMPT)
    child.timeout = ANSWER_SECONDS
    yield child
    child.close(force=True)


def ask(shell, command, answer):
    shell.sendline(command)
    shell.expect(r"\r\n" + answer + r"\r+\n")
    shell.expect(SHELL_PROMPT)


def test_shell_answers(shell):
    ask(shell, "echo $((6*7)) $(nproc)", "42 1")


def test_shell_edits_its_line(shell):
    """Every key arrives at once, not with the line: here rubbing out. The echo has the line's last letters twice."""
    shell.send("echo wrong")
    shell.expect("echo wrong")
    shell.send("\x7f" * 5 + "right\r")
    shell.expect(r"\r\nright\r+\n")
    shell.expect(SHELL_PROMPT)


def test_shell_takes_a_pasted_text(shell):
    """More than any FIFO holds, and none of it lost."""
    text = "".join(chr(ord("a") + i % 26) for i in range(900))
    shell.sendline(f"x={text[:450]}")
    shell.expect(SHELL_PROMPT)
    shell.sendline(f"y={text[450:]}")
    shell.expect(SHELL_PROMPT)
    ask(shell, 'echo "$x$y" | wc -c; echo "$x$y" | tail -c 11', r"901\r+\nijklmnopqr".replace("ijklmnopqr", text[-10:]))


def test_shell_wakes_an_idle_machine(shell):
    """After seconds with nothing to run on any CPU, only the serial port's interrupt can bring the key in; Ctrl-C ends
    a sleep."""
    shell.sendline("sleep 1000000")  # an idle machine's time runs faster than the host's
    shell.expect("sleep 1000000")
    with pytest.raises(pexpect.TIMEOUT):
        shell.expect(SHELL_PROMPT, timeout=5)
    shell.send("\x03")
    shell.expect(SHELL_PROMPT)


def test_poweroff_ends_the_shell(shell):
    shell.sendline("poweroff")
    shell.expect("rootlet: vm stop name=debian reason=poweroff")
    shell.expect("rootlet: end status=ok")
    shell.expect("run-bochs: pass: ")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0


def test_console_input_must_name_a_vm(boot):
    run = boot("build/guests/hello.elf vm=hello mem=8M\n", options="console.input=nobody", check=False)
    run.check_fail_end()
    assert [line for line in run.host_lines if "console.input=nobody: no line defines this VM" in line], str(run)
    assert run.event("vm stop", name="hello")["reason"] == "exit", str(run)
