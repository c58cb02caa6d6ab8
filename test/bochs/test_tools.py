# SPDX-License-Identifier: BSD-2-Clause
"""The tools themselves, with a stand-in for the hypervisor: what a run's exit status means, what mkiso hands over."""
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import subprocess
import time

import pytest

import machine
import runner
import vms

TOOLS = os.path.join(machine.TREE, "tools")
HELLO = "test/bochs/probe.asm vm=a mem=8M\n"  # any file is a payload for the probe


def until(status, seconds):
    """A short limit for what shall reach it, and for nothing else: on a busy host a boot takes long."""
    return {"limit": seconds} if status == runner.STATUS_TIME_LIMIT else {}


@pytest.mark.parametrize(
    "how, status, words",
    [
        ("ok", 0, "pass: end status=ok and power-off"),
        ("fail", 1, "FAIL: end status=fail"),
        ("panic", 1, "FAIL: the hypervisor panicked"),
        ("quit", 1, "FAIL: no end line"),
        ("triple", 1, "FAIL: triple fault of the host"),
        ("stay", 1, "FAIL: no power-off"),
        ("halt", 124, "FAIL: time limit"),
        ("g-loop", 124, "FAIL: time limit"),
    ],
)
def test_run_bochs_status(boot, probe, how, status, words):
    run = boot(HELLO, how, kernel=probe, check=False, **until(status, 6))
    assert (run.status, words in run.verdict) == (status, True), str(run)


@pytest.mark.parametrize(
    "how, status, words",
    [("ok", 0, "pass: "), ("triple", 1, "FAIL: triple fault or reset"), ("halt", 124, "FAIL: time limit")],
)
def test_run_qemu_status(boot_qemu, probe, how, status, words):
    """By UEFI: the probe's power-off port is where that firmware puts it."""
    run = boot_qemu(HELLO, how, kernel=probe, check=False, uefi=True, **until(status, 15))
    assert (run.status, words in run.verdict) == (status, True), str(run)


def test_the_verdict_names_the_failures():
    """In the order of the console, each with what there is to say; what only looks like such a line is a guest's."""
    console = """\
[triple] rootlet: failed vm=forged reason=exit status=1
rootlet: failed option="unknown key 'foo='; known keys: log="
rootlet: failed vm=wrong refused="multiboot header at offset 0x1004 has checksum 0x0"
rootlet: failed vm=triple reason=triple-fault function=kmain+0x55 what="an exception in=it" rip=0x1000 first=#UD
rootlet: failed vm=seven reason=exit status=7
rootlet: failed vm=reset reason=reset
rootlet: failed vm=wild reason=triple-fault caller=kmain+0x10 what="" rip=0x40000000
rootlet: failed more=3
rootlet: end status=fail
"""
    serial = runner.Serial(os.devnull, False)
    serial.bytes += console.encode()
    status, words, log_helps = runner.judge(None, serial, None, True)
    assert (status, log_helps) == (1, False)
    assert words == (
        "option refused: unknown key 'foo='; "
        "wrong: refused: multiboot header at offset 0x1004 has checksum 0x0; "
        "triple: triple-fault in kmain+0x55; seven: exit status 7; reset: reset; "
        "wild: triple-fault called from kmain+0x10; more=3"
    )
    assert runner.judge("time-limit", serial, None, True)[0] == 124
    assert runner.judge(None, serial, "triple fault", True)[1] == "triple fault"


class Script:
    """An emulator and its serial port: what is said from one look to the next, and then the end."""

    grace_seconds = 0.005

    def __init__(self, said):
        self.said, self.bytes = list(said), bytearray()

    def poll(self):
        return None if self.said else 0

    def wait(self, _):
        time.sleep(0.02)
        self.bytes += self.said.pop(0)


def test_an_end_line_is_the_last_word_but_for_a_reboot():
    boot, end = b"rootlet: boot version=1\r\n", b"rootlet: end status=ok\r\n"
    for said, cut in (
        ((boot, end), None),
        ((boot, end, b"", b"", b""), "no-power-off"),
        ((boot, end, boot, b"", b"", end), None),
        ((boot, end, boot, b"", end, b"", b""), "no-power-off"),
    ):
        script = Script(said)
        assert runner.follow(script, script, 0) == cut, said


def test_mkiso_hands_lines_over_as_written(boot, probe):
    run = boot(
        "# a comment\n\n"
        'test/bochs/probe.asm   vm=a  mem=8M -- root=$HOME;echo {x} "two words" <a>|b & *? ~ #no comment\n'
        "test/bochs/machine.py vm=a role=module\n",
        "ok log=debug vmx.disable=a,b",
        kernel=probe,
        check=False,
    )
    assert run.events("probe")[0] == {"options": "ok", "log": "debug", "vmx.disable": "a,b"}
    assert [line for line in run.host_lines if line.startswith("probe module=")] == [
        'probe module=vm=a mem=8M -- root=$HOME;echo {x} "two words" <a>|b & *? ~ #no comment',
        "probe module=vm=a role=module",
    ]


def mkiso(tmp_path, vms, *arguments):
    path = tmp_path / "x.vms"
    path.write_text(vms)
    command = [os.path.join(TOOLS, "mkiso"), str(path), "-o", str(tmp_path / "x.iso"), "--kernel", *arguments]
    return subprocess.run(command, cwd=machine.TREE, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "vms, words",
    [
        ("nosuch.elf vm=a\n", "x.vms:1: no such payload file: nosuch.elf"),
        ("\ntest/run mem=8M\n", "x.vms:2: module line 'mem=8M' has no vm=<name>"),
        ("test/run vm=a\ntest/run vm=a\n", "x.vms:2: vm=a was defined in line 1"),
        ("test/run vm=a/b\n", "x.vms:1: vm=a/b is not accepted; vm= takes a name of"),
        ("test/run vm=b role=module\n", "x.vms:1: role=module, but no line before defines vm=b"),
        ("test/run vm=b -- it's\n", "x.vms:1: it's: GRUB would put a backslash"),
        ("# nothing\n", "no VM line in it"),
        ("test/run vm=a memm=8M\n", "x.vms:1: unknown key 'memm='; known keys: vm= role= kind= mem="),
        ("test/run vm=a mem=8X\n", "x.vms:1: mem=8X is not accepted; mem= takes 1M"),
        ("test/run vm=a mem=640K\n", "x.vms:1: mem=640K is not accepted; mem= takes 1M (with 640K of RAM)"),
        ("test/run vm=a kind=mutliboot\n",
         "x.vms:1: kind=mutliboot is not accepted; kind= takes auto, flat16, multiboot,"),
    ],
)
def test_mkiso_refuses_by_line(tmp_path, probe, vms, words):
    result = mkiso(tmp_path, vms, probe)
    assert result.returncode == 1 and words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "options, words",
    [
        ("log=loud", "log=loud is not accepted; log= takes error, warn, info or debug"),
        ("colour=red", "unknown key 'colour='; known keys: log= "),
        ("vmx.disable=vpid,warp", "vmx.disable=warp: no such optional feature; there are: "),
        ("console.input=b", "console.input=b: no line defines this VM"),
        ("log=info gdb=c,nowait", "gdb=c: no line defines this VM"),
    ],
)
def test_mkiso_refuses_wrong_options(tmp_path, probe, options, words):
    result = mkiso(tmp_path, "test/run vm=a\n", probe, "--options", options)
    assert result.returncode == 1 and result.stderr.startswith(f"mkiso: --options: {words}")


def test_mkiso_check_says_all_that_is_wrong_and_makes_no_iso(tmp_path):
    path = tmp_path / "x.vms"
    for text, options, said in (("test/run vm=a mem=8M -- b=c\n\ntest/run vm=a role=module\n",
                                 "gdb=a,32 vmx.disable=vpid", []),
                                ("test/run vm=a mem=8\ntest/run vm=b\ntest/run vm=b cpus=no\n", "x=y",
                                 [":1: mem=8", ":3: cpus=no", "--options: "])):
        path.write_text(text)
        command = [os.path.join(TOOLS, "mkiso"), "--check", str(path), "--options", options]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        lines = result.stderr.splitlines()
        assert result.returncode == bool(said) and len(lines) == len(said), result.stderr
        assert all(word in line for word, line in zip(said, lines)), result.stderr
        assert sorted(os.listdir(tmp_path)) == ["x.vms"]


def documented_lines(page):
    """The VM lines in a page's indented blocks: a file name first, and vm= among the words."""
    text = vms.read(page)
    return re.findall(r"^    ([\w./+-]+ +(?:\S+ +)*?vm=.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("page", ("README.md", "docs/running.md"))
def test_vm_lines_in_the_documents_are_right(tmp_path, page):
    lines = documented_lines(page)
    assert lines
    sizes = re.search(r"^\| `mem=SIZE` .*", vms.read(page), re.MULTILINE)
    lines += [f"file vm=size mem={size}" for size in re.findall(r"`(\d+[KMG])`", sizes.group(0) if sizes else "")]
    for number, line in enumerate(lines):
        words = re.sub(r"\s+#.*", "", line).split(None, 1)
        name = re.search(r"vm=(\S+)", line).group(1)
        boot = f"boot vm={name}\n" if "role=" in line and "role=boot" not in line else ""
        path = tmp_path / f"{number}.vms"
        path.write_text(f"{boot}file {words[1]}\n")
        for file in ("boot", "file"):
            (tmp_path / file).write_text("")
        result = subprocess.run([os.path.join(TOOLS, "mkiso"), "--check", str(path)], capture_output=True, text=True,
                                check=False)
        assert result.returncode == 0, f"{line}\n{result.stderr}"


def test_mkiso_names_what_is_missing(tmp_path):
    result = mkiso(tmp_path, "test/run vm=a\n", "nosuch.elf")
    assert result.returncode == 1 and "nosuch.elf: no such file (run make)" in result.stderr
    result = mkiso(tmp_path, "test/run vm=a\n", "README.md")
    assert result.returncode == 1
    assert result.stderr.startswith("mkiso: README.md: ") and "not recognized" in result.stderr


def test_iso_has_the_kernels_symbols_but_no_debugging_information(tmp_path):
    """The symbols are for its backtraces; the rest would only be read by GRUB at each boot."""
    assert mkiso(tmp_path, "test/run vm=a\n", "build/rootlet.elf").returncode == 0
    command = ["xorriso", "-osirrox", "on", "-indev", str(tmp_path / "x.iso"), "-extract", "/boot/rootlet.elf",
               str(tmp_path / "rootlet.elf")]
    subprocess.run(command, capture_output=True, check=True)
    sections = subprocess.run(["readelf", "-SW", str(tmp_path / "rootlet.elf")], capture_output=True, text=True,
                              check=True).stdout
    assert " .symtab " in sections and " .text " in sections and ".debug" not in sections


def test_mkiso_lets_wrong_lines_through_on_request(tmp_path, probe):
    assert mkiso(tmp_path, "test/run mem=1\ntest/run vm=a\ntest/run vm=a\n", probe, "--no-check").returncode == 0


def test_wrong_usage_has_status_2():
    for tool in ("run-bochs", "run-qemu", "mkiso"):
        result = subprocess.run([os.path.join(TOOLS, tool), "nosuch.iso", "--nosuch"], capture_output=True, check=False)
        assert result.returncode == 2


def test_help():
    for tool in ("run-bochs", "run-qemu", "mkiso", "bench", "trace", "symbolize", "vmx-caps", "fetch-engine"):
        result = subprocess.run([os.path.join(TOOLS, tool), "--help"], capture_output=True, text=True, check=False)
        assert result.returncode == 0 and "usage:" in result.stdout


def tool(*command, **environment):
    path = os.path.join(TOOLS, command[0])
    return subprocess.run([path, *command[1:]], cwd=machine.TREE, env=dict(os.environ, **environment),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("bochs1",), ("--path",), ("--nosuch",)])
def test_fetch_engine_names_the_engines_there_are(arguments):
    result = tool("fetch-engine", *arguments)
    assert result.returncode == 2 and "there are bochs2 and bochs3" in result.stderr
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["bochs1", "nosuch/bochs", "README.md"])
def test_run_bochs_refuses_an_engine_that_is_none(name):
    """By option and by environment; README.md is there, but no program."""
    for result in (tool("run-bochs", "README.md", "--engine", name),
                   tool("run-bochs", "README.md", ROOTLET_ENGINE=name)):
        assert result.returncode == 2, result
        assert result.stderr.splitlines()[-1] == (
            f"run-bochs: error: engine {name}: no such program; there are bochs2, bochs3 and paths of programs")


def test_run_bochs_takes_any_program_and_the_option_before_the_environment(tmp_path, probe):
    """A Bochs by its path, as a start script of one's own: the verdict names it."""
    vms, mine = tmp_path / "x.vms", tmp_path / "mine"
    vms.write_text(HELLO)
    bochs = tool("fetch-engine", "--path", machine.engine_name()).stdout.strip()
    mine.write_text(f'#!/bin/sh\necho >{tmp_path}/started\nexec {bochs} "$@"\n')
    mine.chmod(0o755)
    result = tool("run-bochs", str(vms), "--kernel", probe, "--options", "ok", "--no-check", "--engine", str(mine),
                  ROOTLET_ENGINE="nosuch")
    assert result.returncode == 0 and (tmp_path / "started").exists()
    assert result.stderr.splitlines()[-1] == f"run-bochs: pass: end status=ok and power-off (engine {mine})"


def test_an_engine_says_its_name_and_models():
    assert machine.engine_name() in ("bochs2", "bochs3")
    assert "corei7_skylake_x" in machine.engine_models() and "bochs" not in machine.engine_models()


def test_debugger_stops_at_the_first_vm_entry(tmp_path):
    """What make debug does, with the keyboard played: symbols are loaded, the breakpoint is hit in 64-bit code."""
    vms = tmp_path / "debug.vms"
    vms.write_text("build/guests/hello.elf vm=hello mem=8M\n")
    command = [os.path.join(TOOLS, "run-bochs"), str(vms), "--debug", "--symbols", "build/rootlet.elf"]
    command += ["--break", "vmx_enter_guest", "--command", "c"]
    result = subprocess.run(command, cwd=machine.TREE, input="q\n", capture_output=True, text=True, timeout=600,
                            check=False)
    assert "Breakpoint 1" in result.stdout and "(vmx_enter_guest+0)" in result.stdout, result.stdout[-2000:]


def test_compile_commands(tmp_path):
    """clangd gets each source's own flags, and what it gets is a command that clang takes."""
    out = tmp_path / "compile_commands.json"
    subprocess.run(["tools/compile-commands", "-o", out], cwd=machine.TREE, check=True)
    entries = {entry["file"]: entry for entry in json.loads(out.read_text())}
    wanted = {
        "kernel/console.c": "-mcmodel=kernel",
        "guests/hello/hello.c": "-m32",
        "guests/long64/main.c": "-m64",
        "test/unit/kernel/vm/test_bus.c": "-DROOTLET_HOST_TEST",
    }
    for source, flag in wanted.items():
        entry = entries[source]
        assert flag in entry["arguments"], entry
        result = subprocess.run(["clang", "-fsyntax-only", *entry["arguments"][1:]], cwd=entry["directory"],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert result.returncode == 0 and "unknown argument" not in result.stdout, result.stdout
    compiled = {path for folder in ("kernel", "vmx", "drivers", "arch", "guests") for path in sources(folder)}
    assert not compiled - entries.keys(), compiled - entries.keys()


def sources(folder):
    for root, _, names in os.walk(os.path.join(machine.TREE, folder)):
        for name in names:
            if name.endswith(".c"):
                yield os.path.relpath(os.path.join(root, name), machine.TREE)


def test_soak_asks_nothing_of_bochs_that_it_cannot_do():
    """A guest that spins with interrupts off, and no preemption timer: each alone is among the runs, the two together
    are not."""
    loader = importlib.machinery.SourceFileLoader("soak", os.path.join(machine.TREE, "test/soak"))
    soak = importlib.util.module_from_spec(importlib.util.spec_from_loader("soak", loader))
    loader.exec_module(soak)
    seen = set()
    for seed in range(200):
        text, keys = soak.choose_run(random.Random(seed))
        assert vms.payloads(text)
        seen.add(("spincli" in text, "preemption-timer" in keys["options"]))
    assert seen == {(False, False), (False, True), (True, False)}
