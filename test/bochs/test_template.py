# SPDX-License-Identifier: BSD-2-Clause
"""examples/template as docs/first-guest.md uses it: copied out of the tree, built, run, and debugged with GDB."""
import os
import re
import shutil
import subprocess

import pytest

import machine
import test_gdb


@pytest.fixture(name="copy")
def copy_of_the_template(tmp_path):
    folder = tmp_path / "first"
    shutil.copytree(os.path.join(machine.TREE, "examples", "template"), folder)
    return folder


def make(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", "-C", str(folder), f"ROOTLET={machine.TREE}"] + list(arguments)
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)


def test_it_is_four_small_files():
    names = sorted(os.listdir(os.path.join(machine.TREE, "examples", "template")))
    assert [name for name in names if name not in ("guest.elf", "guest.vms", "guest.o", "start.o")] == [
        "Makefile", "guest.c", "link.ld", "start.asm"]


def test_make_run_from_another_folder(copy):
    result = make(copy, "run")
    assert result.returncode == 0, result.stdout
    assert "warning" not in result.stdout, result.stdout
    test_gdb.check_order(result.stdout, r"^\[first\] first: hello\s*$", r"^\[first\] first: ten ticks\s*$",
                         r"^rootlet: vm stop name=first reason=exit status=0\s*$", r"^rootlet: end status=ok\s*$")
    # The ten ticks of 10 ms were waited for in HLT, and none came early.
    wall_us = int(re.search(r"vm stats name=first .*wall_us=(\d+)", result.stdout).group(1))
    assert 100000 <= wall_us < 200000 and re.search(r"vm exits name=first .*\bhlt=10\b", result.stdout), result.stdout


def test_debugging_walk_of_the_page(copy):
    assert make(copy, "OPT=-O0").returncode == 0
    with test_gdb.Debugged(f"{copy}/guest.elf vm=first mem=4M\n", "gdb=first") as debugged:
        commands = [f"target remote localhost:{debugged.port}", "break guest_main", "continue", "next", "next",
                    "break timer_interrupt", "continue", "backtrace", "print ticks", "next", "print ticks", "delete",
                    "continue"]
        command = test_gdb.GDB + [str(copy / "guest.elf"), "-batch"]
        command += [word for text in commands for word in ("-ex", text)]
        text = subprocess.run(command, cwd=copy, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=test_gdb.LIMIT_SECONDS, check=False).stdout
    test_gdb.check_order(text, r"^Breakpoint 1, guest_main \(\) at guest\.c:\d+", r"idt_init\(\);$", r"pic_init\(\);$",
                         r"^Breakpoint 2, timer_interrupt \(\) at guest\.c:\d+",
                         r"^#1 .* timer_entry \(\) at start\.asm:\d+",
                         r"^\$1 = 0$", r"^\$2 = 1$", r"exited normally\]$")
    debugged.run.check_good_end()
