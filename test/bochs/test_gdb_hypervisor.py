# SPDX-License-Identifier: BSD-2-Clause
"""GDB on the hypervisor itself: in QEMU as far as its CPU gets, and the commands of tools/gdb/rootlet.py on structures
that a small program has filled."""
import os
import re
import socket
import subprocess

import machine

SCRIPT = os.path.join(machine.TREE, "tools/gdb/rootlet.py")
LIMIT_SECONDS = 300  # a busy host


def gdb(program, *commands):
    command = ["gdb", "-nx", "-batch", "-ex", "set width 0", "-x", SCRIPT]
    command += [word for text in commands for word in ("-ex", text)] + [str(program)]
    result = subprocess.run(command, cwd=machine.TREE, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=LIMIT_SECONDS, check=False)
    return result.stdout + result.stderr


def test_commands_print_what_the_structures_hold(tmp_path):
    program = tmp_path / "machine"
    flags = ["-std=gnu11", "-g", "-O1", "-I.", "-DROOTLET_HOST_TEST", "-Wall", "-Wextra"]
    subprocess.run(["gcc", *flags, "-o", str(program), "test/gdb/machine.c"], cwd=machine.TREE, check=True)
    text = gdb(program, "rootlet-vms", "rootlet-vcpus", "break machine_ready", "run", "rootlet-vms", "rootlet-vcpus",
               "rootlet-vcpus hello", "rootlet-vcpus nosuch")
    before, after = text.split("Breakpoint 1, ")
    assert "no VM: " in before and "no vCPU: " in before, text
    rows = [re.split(r"\s{2,}", line) for line in after.splitlines()]
    assert ["debian", "linux", "65536 KiB", "2", "2", "running"] in rows, text
    assert ["hello", "linux", "65536 KiB", "1", "0", "stopped triple-fault"] in rows, text
    assert ["debian", "0", "running", "1", "EVENT|INIT", "123456 ticks", "528", "30=500 10=20 52=7"] in rows, text
    assert ["debian", "1", "not started", "-", "-", "0 ticks", "0"] in rows, text
    assert rows.count(["hello", "0", "stopped", "0", "-", "0 ticks", "0"]) == 2, text
    assert "no VM is called nosuch" in text


def test_requests_have_the_names_of_the_header():
    """The script's names are the bits of kernel/vm/vcpu.h."""
    with open(os.path.join(machine.TREE, "kernel/vm/vcpu.h"), encoding="utf-8") as file:
        bits = {name: int(value) for name, value in re.findall(r"#define VCPU_REQUEST_(\w+)\s+(\d+)u", file.read())}
    with open(SCRIPT, encoding="utf-8") as file:
        names = re.search(r"REQUESTS = \((.*?)\)", file.read()).group(1).replace('"', "").split(", ")
    assert {name: 1 << bit for bit, name in enumerate(names) if not name.isdigit()} == bits


def test_kernel_has_what_the_commands_read():
    """The real image: the list of VMs and the names of exits are found by the names that the script uses."""
    text = gdb("build/rootlet.elf", "rootlet-vcpus", "python print(exit_name(30), exit_name(10))",
               "python print(vmx_half(evaluate('(struct vcpu *) 0x100000')).type)")
    assert "no vCPU: " in text and "io cpuid" in text and "struct vmx_vcpu *" in text, text


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def test_qemu_waits_for_gdb(tmp_path):
    """QEMU's own CPU has no VMX: a breakpoint at the C entry, symbols, the commands, and on to the refusal."""
    vms, port = tmp_path / "gdb.vms", free_port()
    vms.write_text("build/guests/hello.elf vm=hello mem=8M\n")
    command = [os.path.join(machine.TREE, "tools/run-qemu"), str(vms), "--tcg", "--memory", "256", "--gdb-hypervisor",
               str(port)]
    with subprocess.Popen(command, cwd=machine.TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as qemu:
        try:
            first = qemu.stderr.readline()
            assert f"target remote localhost:{port}" in first, first
            text = gdb("build/rootlet.elf", "set remotetimeout 60", "set tcp connect-timeout 60",
                       f"target remote localhost:{port}", "hbreak kernel_main", "continue", "print/x magic",
                       "rootlet-vms", "delete", "hbreak virt_init", "continue", "backtrace", "delete", "continue")
            out, err = qemu.communicate(timeout=LIMIT_SECONDS)
        finally:
            qemu.kill()
    assert "kernel_main (magic=" in text and "0x36d76289" in text and "no VM: " in text, text
    assert re.search(r"#0 .*virt_init \(", text) and re.search(r"#[12] .*kernel_main \(", text), text
    assert "this CPU has no VMX" in out and "FAIL: end status=fail" in err, out + err
