# SPDX-License-Identifier: BSD-2-Clause
"""Boots a machine for a test and takes its serial console apart."""
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TREE, "tools"))
import engine  # noqa: E402
LIMIT_SECONDS = 600  # only for what hangs: how long a boot takes depends on what else the host does
PAIR = re.compile(r'([A-Za-z0-9_.-]+)=("[^"]*"|\S*)')


@functools.cache
def engine_name():
    """bochs2 or bochs3: the Bochs that boots the machines (pytest's --engine, or ROOTLET_ENGINE; else the system's)."""
    return engine.name(engine.chosen())


@functools.cache
def engine_models():
    """The CPU models that this engine has."""
    return engine.models(engine.chosen())


def missing(path):
    """Why tools/fetch-payloads could not have this payload from this Debian release, or None."""
    note = os.path.join(TREE, path + ".missing")
    if os.path.exists(os.path.join(TREE, path)) or not os.path.exists(note):
        return None
    with open(note, encoding="utf-8") as file:
        return f"{path}: {file.read().strip()}"


def need(text):
    """Skips the test if a payload that the text names cannot be had. test/run counts a test that is skipped for any
    other reason as failed."""
    for path in re.findall(r"\bbuild/payloads/[\w.+-]+", text):
        if missing(path):
            pytest.skip(missing(path))


class Run:
    """What one boot left: exit status and verdict of the runner, the serial lines, the emulator's log."""

    def __init__(self, status, verdict, serial, log):
        self.status, self.verdict, self.log = status, verdict, log
        self.lines = [line.rstrip("\r") for line in serial.split("\n")]

    @property
    def host_lines(self):
        return [line[len("rootlet: ") :] for line in self.lines if line.startswith("rootlet: ")]

    def output(self, name):
        """What the VM wrote to its console, line by line."""
        prefix = f"[{name}] "
        return [line[len(prefix) :] for line in self.lines if line.startswith(prefix)]

    def screen(self, name):
        """The text page of a VM with dump=screen."""
        return [line[1:].strip() for line in self.output(name) if line.startswith("|")]

    def events(self, kind, **wanted):
        """The key=value pairs of each host line that begins with these words, where the given keys have these
        values."""
        found = []
        for line in self.host_lines:
            line = line.removeprefix("info: ")
            if line == kind or line.startswith(kind + " "):
                pairs = {key: value.strip('"') for key, value in PAIR.findall(line[len(kind) :])}
                if all(pairs.get(key) == str(value) for key, value in wanted.items()):
                    found.append(pairs)
        return found

    def event(self, kind, **wanted):
        """The only event of that kind."""
        found = self.events(kind, **wanted)
        assert len(found) == 1, f"{len(found)} lines 'rootlet: {kind}' with {wanted}\n{self}"
        return found[0]

    def reasons(self):
        return {stop["name"]: stop["reason"] for stop in self.events("vm stop")}

    def check_good_end(self):
        assert self.status == 0, str(self)
        self.check_order(good=True)

    def check_fail_end(self):
        """Ended in good order, but with status=fail."""
        assert self.status == 1 and self.event("end")["status"] == "fail", str(self)
        verdict = self.verdict.splitlines()[-1]
        names = [failure["vm"] for failure in self.events("failed") if "vm" in failure]
        assert "FAIL: " in verdict and all(f"{name}: " in verdict for name in names), str(self)
        assert ("FAIL: end status=fail" in verdict) == (not self.events("failed")), str(self)
        self.check_order(good=False)

    def check_order(self, good):
        """Each CPU that entered VMX root left it; no frame is lost; the end line is the last one."""
        entered = sorted(cpu["id"] for cpu in self.events("cpu") if cpu.get("vmx") == "root")
        left = sorted(cpu["id"] for cpu in self.events("cpu") if cpu.get("vmx") == "off")
        assert entered == left, str(self)
        if good or self.events("vm start"):
            assert self.event("frames")["lost"] == "0", str(self)
        assert [line for line in self.lines if line][-1].startswith("rootlet: end status="), str(self)
        assert not [line for line in self.host_lines if line.startswith("panic")], str(self)

    def __str__(self):
        return "\n".join([f"exit status {self.status}: {self.verdict}", "serial console:"] + self.lines[-120:])


def run_tool(tool, vms, arguments, options=""):
    """Boots VM lines (a text, or the path of a file of them) or an ISO with tools/run-bochs or tools/run-qemu."""
    with tempfile.TemporaryDirectory(prefix="rootlet-test.") as folder:
        if "\n" not in vms and os.path.isfile(os.path.join(TREE, vms)):
            path = os.path.join(TREE, vms)
            if not path.endswith(".iso"):
                with open(path, encoding="utf-8") as file:
                    need(file.read())
        else:
            need(vms)
            path = os.path.join(folder, "test.vms")
            with open(path, "w", encoding="utf-8") as file:
                file.write(vms)
        serial, log = os.path.join(folder, "serial"), os.path.join(folder, "log")
        command = [os.path.join(TREE, "tools", tool), path, "--quiet", "--serial", serial, "--log", log]
        command += [f"--options={options}"] + [str(argument) for argument in arguments]
        result = subprocess.run(command, cwd=TREE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                check=False)
        texts = []
        for name in (serial, log):
            try:
                with open(name, encoding="utf-8", errors="replace") as file:
                    texts.append(file.read())
            except FileNotFoundError:
                texts.append("")
        return Run(result.returncode, result.stderr.strip(), *texts)


def boot_bochs(vms, options="", cpus=1, model="corei7_skylake_x", memory=256, features="", limit=LIMIT_SECONDS,
               check=True, kernel=None, com2=None, threads=1):
    """com2: a file for what comes out of the second serial port; threads: so many CPUs in a row are siblings."""
    arguments = ["--cpus", cpus, "--model", model, "--memory", memory, "--time-limit", limit]
    arguments += ["--features", features] if features else []
    arguments += ["--kernel", kernel] if kernel else []
    arguments += [] if check else ["--no-check"]
    arguments += ["--com2", com2] if com2 else []
    arguments += ["--threads", threads] if threads > 1 else []
    return run_tool("run-bochs", vms, arguments, options)


def boot_by_grub(files, commands, arguments, tool="run-bochs"):
    """GRUB's own commands on the bare machine; files: name in /boot -> path."""
    with tempfile.TemporaryDirectory(prefix="rootlet-test.") as folder:
        os.makedirs(os.path.join(folder, "iso/boot/grub"))
        for name, path in files.items():
            shutil.copyfile(os.path.join(TREE, path), os.path.join(folder, "iso/boot", name))
        with open(os.path.join(folder, "iso/boot/grub/grub.cfg"), "w", encoding="ascii") as file:
            file.write("\n".join(["set timeout=0", "menuentry guest {", *commands, "}", ""]))
        iso = os.path.join(folder, "guest.iso")
        subprocess.run(["grub-mkrescue", "-o", iso, os.path.join(folder, "iso")], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return run_tool(tool, iso, arguments)


def boot_bare(guest, model="corei7_skylake_x", limit=LIMIT_SECONDS, cpus=1):
    """A multiboot guest on the bare CPU, booted by GRUB. It powers the machine off if it ends with status 0; else the
    machine comes up again until the limit."""
    return boot_by_grub({"guest.elf": guest}, ["multiboot /boot/guest.elf"],
                        ["--model", model, "--cpus", cpus, "--time-limit", limit])


def boot_bare_linux(kernel, initrd, words, cpus=1, memory=256, limit=1800):
    """Linux on the bare machine, booted by GRUB."""
    return boot_by_grub({"vmlinuz": kernel, "initrd": initrd}, [f"linux /boot/vmlinuz {words}", "initrd /boot/initrd"],
                        ["--cpus", cpus, "--memory", memory, "--time-limit", limit])


def boot_kvm(vms, engine_name, options="", cpus=2, memory=512, uefi=False, limit=3600):
    """In QEMU with KVM, in Linux, in Bochs: minutes. The log begins with how often KVM had to act."""
    arguments = ["--engine", engine_name, "--cpus", cpus, "--memory", memory, "--time-limit", limit]
    arguments += ["--uefi"] if uefi else []
    return run_tool("run-kvm", vms, arguments, options)


def boot_bare_kvm(guest, words, limit=3600):
    """A multiboot guest, by GRUB and without Rootlet, on KVM as boot_kvm() has it."""
    return boot_by_grub({"guest.elf": guest}, [f"multiboot /boot/guest.elf {words}"],
                        ["--engine", engine_name(), "--memory", 128, "--time-limit", limit], "run-kvm")


def boot_qemu(vms, options="", cpus=1, memory=256, uefi=False, limit=LIMIT_SECONDS, check=True, kernel=None, qemu=""):
    """qemu: more words for QEMU's command line."""
    arguments = ["--tcg", "--cpus", cpus, "--memory", memory, "--time-limit", limit]
    arguments += ["--uefi"] if uefi else []
    arguments += [] if check else ["--no-check"]
    arguments += [f"--qemu={qemu}"] if qemu else []
    arguments += ["--kernel", kernel] if kernel else []
    return run_tool("run-qemu", vms, arguments, options)
