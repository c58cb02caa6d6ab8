# SPDX-License-Identifier: BSD-2-Clause
"""The GDB stub with Debian's GDB, by scripts and by hand; and with a client that sends anything at all."""
import concurrent.futures
import os
import random
import re
import socket
import subprocess
import time

import pexpect
import pytest

import machine
import vms

SCRIPTS = os.path.join(machine.TREE, "test", "bochs", "gdb")
COMPUTE = "build/guests/compute.elf vm=sum mem=4M -- seed=1 ms=60\n"
GDB = ["gdb", "-nx", "-q", "-ex", "set pagination off", "-ex", "set style enabled off", "-ex", "set confirm off"]
# A machine in Bochs answers late, and on a busy host later.
GDB += ["-ex", "set remotetimeout 60", "-ex", "set tcp connect-timeout 300"]
LIMIT_SECONDS = 600


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


class Debugged:
    """A machine whose VM waits for a debugger; `run` is what it left, at the end of the with block."""

    def __init__(self, text, options, cpus=1):
        self.port, self.run = free_port(), None
        arguments = ["--cpus", cpus, "--memory", 256, "--time-limit", LIMIT_SECONDS, "--gdb", self.port]
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.future = self.pool.submit(machine.run_tool, "run-bochs", text, arguments, options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run = self.future.result()
        self.pool.shutdown()

    def connect(self):
        """A socket instead of GDB."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            try:
                return socket.create_connection(("localhost", self.port), timeout=LIMIT_SECONDS)
            except ConnectionRefusedError:
                assert time.monotonic() < deadline and not self.future.done()
                time.sleep(0.2)

    def command(self, symbols):
        return GDB + [os.path.join("build", "guests", symbols), "-ex", f"target remote localhost:{self.port}"]

    def script(self, symbols, name):
        command = self.command(symbols) + ["-batch", "-x", os.path.join(SCRIPTS, name)]
        result = subprocess.run(command, cwd=machine.TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=LIMIT_SECONDS, check=False)
        return result.stdout


def check_order(text, *patterns):
    """The patterns are found in the text, one behind the other."""
    at = 0
    for pattern in patterns:
        match = re.compile(pattern, re.MULTILINE).search(text, at)
        assert match, f"not there, or too early: {pattern}\n{text}"
        at = match.end()


def test_break_step_and_look_in_a_32_bit_guest():
    with Debugged("build/guests/hello.elf vm=hello mem=8M\n" + COMPUTE, "gdb=hello") as debugged:
        text = debugged.script("hello.elf", "hello.gdb")
    check_order(text, r"^Breakpoint 1, guest_main \(\) at guests/hello/hello\.c:\d+",
                r"^#1 .* guest_start \(magic=732803074", r"^#2 .* _start \(\)",
                r"^Breakpoint 2, console_text_page \(row=0", r"^\$1 = 0$",
                r'^\$2 = .*"Hello from the text page at 0xB8000"$', r"^\$3 = 0x8$", r"^\$4 = \[.*\]$",
                r"guest_exit \(status=0\)", r"^\$5 = 0$", r"detached\]$")
    debugged.run.check_good_end()
    assert "hello by hypercall: one exit for a whole line" in debugged.run.output("hello")
    assert debugged.run.event("gdb")["state"] == "waits"
    vms.check_guest(debugged.run, "sum", "compute.elf")


def test_64_bit_guest_with_paging():
    with Debugged("build/guests/long64.elf vm=long mem=8M\n", "gdb=long,64") as debugged:
        text = debugged.script("long64.elf.64", "long64.gdb")
    check_order(text, r"^Breakpoint 1, long64_syscall \(first=\d+, second=\d+, third=\d+, number=2\)", r"^\$1 = \d+$",
                r"^\$2 = 0x501$", r"^#1 .* long64_trap \(frame=", r"^Breakpoint 2, .*task\.asm", r"^\$3 = 3$",
                r"^\$4 = .*0x4000[0-9a-f]{2}", r"^\$5 = .*0x4000[0-9a-f]{2}", r"^Old value = 0\nNew value = 1$",
                r"^Old value = 1\nNew value = 2$", r"^Cannot access memory at address 0x7fffffffffff$",
                r"^Cannot access memory at address 0xfee00020$", r"^\$6 = 77$", r"^\$7 = 0x1122334455667788$",
                r"exited normally\]$")
    debugged.run.check_good_end()
    assert "long64 ok syscalls=20003 caught=7" in debugged.run.output("long")


def test_vcpus_are_threads():
    with Debugged("build/guests/smp.elf vm=smp mem=4M cpus=2\n" + COMPUTE, "gdb=smp", cpus=2) as debugged:
        text = debugged.script("smp.elf", "smp.gdb")
    check_order(text, r"^\* 1 +Thread 1 ", r"^Thread 2 hit Breakpoint 1, smp_main \(index=1\)",
                r"^ +1 +Thread 1 .*\n\* 2 +Thread 2 ", r"^\$1 = 1$", r"^\$2 = 2$",
                r"hit Hardware watchpoint 2: finished", r"^Old value = 0\nNew value = 1$",
                r"hit Hardware watchpoint 2: finished", r"^Old value = 1\nNew value = 2$",
                r"^Thread 1 hit Breakpoint 3, guest_exit \(status=0\)", r"^\$3 = 40000$", r"exited normally\]$")
    debugged.run.check_good_end()
    assert "smp ok vcpus=2 count=40000" in debugged.run.output("smp")
    vms.check_guest(debugged.run, "sum", "compute.elf")


def test_registers_of_a_vcpu_that_waits_for_sipi():
    with Debugged("build/guests/apic.elf vm=two mem=8M cpus=2 -- mode=xapic only=init-running\n",
                  "gdb=two,64") as debugged:
        text = debugged.script("apic.elf.64", "sipi.gdb")
    check_order(text, r"Breakpoint 1, check_init_running", r"Breakpoint 2\S*, wait_ns", r"Thread 2 .*waits for SIPI",
                r"exited normally\]$")
    debugged.run.check_good_end()
    assert "apic xapic init-running ok" in debugged.run.output("two"), str(debugged.run)


def test_guest_hypervisor_and_its_inner_guest():
    """Breakpoints and steps go on from one into the other, and leave nothing behind in either."""
    with Debugged("build/guests/inner.elf vm=inner mem=32M nested=on -- measure=1\n", "gdb=inner,64") as debugged:
        text = debugged.script("inner.elf.64", "nested.gdb")
    check_order(text, r"^Breakpoint 1, inner_measure", r"^Breakpoint 2, cpuids", r"^inner at 0$", r"^\$1 = 0x500$",
                r"^hypervisor at 1$", r"^Breakpoint 3, lab_enter", r"^hypervisor at 1$",
                r"^Breakpoint 4, reads_ports", r"^inner at 0$", r"^inner at 7$", r"exited normally\]$")
    debugged.run.check_good_end()
    assert "inner ok" in debugged.run.output("inner"), str(debugged.run)


def test_guest_that_debugs_itself(boot):
    run = boot("build/guests/selfdebug.elf vm=self mem=4M\nbuild/guests/traps.elf vm=traps mem=4M\n")
    vms.check_guest(run, "self", "selfdebug.elf")
    vms.check_guest(run, "traps", "traps.elf")


def test_guest_that_debugs_itself_under_gdb():
    with Debugged("build/guests/selfdebug.elf vm=self mem=4M\n", "gdb=self") as debugged:
        text = debugged.script("selfdebug.elf", "selfdebug.gdb")
    check_order(text, r"^Breakpoint 1, read_flags", r"^\$1 = 1$", r"^Breakpoint 2, call_int3", r"^\$2 = 1$",
                r"^Breakpoint 3, step_once", r"^\$3 = \[.*\bTF\b.*\]$", r"^Old value = 3\nNew value = 100$",
                r"^Old value = 100\nNew value = 200$", r"^Breakpoint 5, watch_once", r"^\$4 = 0$",
                r"exited normally\]$")
    debugged.run.check_good_end()
    assert "selfdebug ok int3=3 steps=1 watches=1" in debugged.run.output("self")


def test_four_hardware_breakpoints_and_no_more():
    with Debugged("build/guests/selfdebug.elf vm=self mem=4M\n", "gdb=self") as debugged:
        text = debugged.script("selfdebug.elf", "hardware.gdb")
    too_many = r"too many hardware breakpoints|Cannot insert hardware breakpoint"  # GDB 13, GDB 16
    check_order(text, r"^Breakpoint 1, read_flags", too_many, r"^Hardware read watchpoint 6",
                r"^Hardware read watchpoint 6: watch_count", r"^Breakpoint 7, change_plain", r"^#0 +change_plain",
                r"killed\]$")
    assert debugged.run.event("vm stop", name="self")["reason"] == "killed"
    debugged.run.check_fail_end()


def test_a_vm_that_goes_back():
    """Breakpoints stay, in whatever memory there is then, and in no snapshot; registers are those of the snapshot."""
    text = "build/guests/rewind.elf vm=two mem=4M cpus=2 -- restores=3\n" + COMPUTE
    with Debugged(text, "gdb=two", cpus=2) as debugged:
        text = debugged.script("rewind.elf", "rewind.gdb")
    asked, back = "^Rootlet: a snapshot of the VM was asked for", "^Rootlet: the VM has gone back to a snapshot"
    check_order(text, asked, "SIGTRAP", "^asked in vain", asked, "SIGTRAP", "^snapshot", r"snapshot \(\)",
                r"guest_main \(\)", "Breakpoint 1, spoil", back, "SIGTRAP", "^back once",
                r"snapshot \(\)", r"guest_main \(\)", r":\s+0x(?!cc)..$", "Breakpoint 1, spoil", back, "^back twice",
                back, "^back thrice", r"Breakpoint 2, guest_exit \(status=0\)", r"^\$1 = 0", r"exited normally\]$")
    debugged.run.check_good_end()
    assert "rewind ok restores=3 vcpus=2" in debugged.run.output("two")
    vms.check_guest(debugged.run, "sum", "compute.elf")


def test_ctrl_c_and_kill_while_another_vm_runs_to_its_end():
    """The spinner runs before GDB comes, and stands while the other VM, on the same CPU, ends by its own will."""
    text = "build/guests/spinner.elf vm=spin mem=4M limit=600000\nbuild/guests/timer.elf vm=timer mem=4M -- ticks=30\n"
    with Debugged(text, "gdb=spin,nowait") as debugged:
        gdb = pexpect.spawn(debugged.command("spinner.elf")[0], debugged.command("spinner.elf")[1:], cwd=machine.TREE,
                            timeout=LIMIT_SECONDS, encoding="utf-8")
        prompt = r"\(gdb\) "
        gdb.expect("Remote debugging using.*" + prompt)
        counts = []
        for _ in range(3):
            gdb.sendline("continue")
            gdb.expect("Continuing")
            time.sleep(1)
            gdb.sendintr()
            gdb.expect("Program received signal SIGINT.*" + prompt)
            gdb.sendline("print turns")
            gdb.expect(r"= (\d+)\r\n.*" + prompt)
            counts.append(int(gdb.match.group(1)))
        gdb.sendline("print guest_upper_memory_bytes()")  # calls it in the guest
        gdb.expect(r"= 3145728\r\n.*" + prompt)
        gdb.sendline("kill")
        gdb.expect("killed.*" + prompt)
        gdb.sendline("quit")
        gdb.expect(pexpect.EOF)
    assert counts == sorted(set(counts)), counts
    run = debugged.run
    assert run.reasons() == {"spin": "killed", "timer": "halt"}, str(run)
    assert [stop["name"] for stop in run.events("vm stop")] == ["timer", "spin"], str(run)
    vms.check_guest(run, "timer", "timer.elf")
    run.check_fail_end()


def frame(content):
    return b"$" + content + b"#%02x" % (sum(content) % 256)


def ask(line, content):
    """The answer to a packet; acknowledgements aside."""
    line.sendall(frame(content))
    answer = b""
    while not re.search(rb"\$.*#..", answer, re.DOTALL):
        answer += line.recv(4096)
    line.sendall(b"+")
    return re.search(rb"\$(.*)#..", answer, re.DOTALL).group(1)


def test_detach_and_attach_again():
    """What the first debugger leaves behind, a breakpoint too, is gone, and the VM runs until the second comes."""
    with Debugged("build/guests/spinner.elf vm=spin mem=4M limit=600000\n", "gdb=spin") as debugged:
        with debugged.connect() as line:
            assert ask(line, b"qSupported:swbreak+").startswith(b"PacketSize=800;")
            assert ask(line, b"QStartNoAckMode") == b"OK"
            first = ask(line, b"p8")
            assert ask(line, b"Z0," + b"%x" % int.from_bytes(bytes.fromhex(first.decode()), "little") + b",1") == b"OK"
            assert ask(line, b"D") == b"OK"
            time.sleep(1)
            assert ask(line, b"qSupported:swbreak+").startswith(b"PacketSize=800;")
            stop = ask(line, b"?")
            assert re.match(rb"T05thread:0?1;08:[0-9a-f]{8};", stop) and first not in stop, stop
            assert ask(line, b"vKill;1") == b"OK"
    assert "spinner spinning" in debugged.run.output("spin")
    assert debugged.run.reasons() == {"spin": "killed"}


def wild_packets(seed):
    """Noise, packets with wrong sums, and well-framed ones with a known letter and anything behind it."""
    numbers = random.Random(seed)
    for _ in range(150):
        body = numbers.randbytes(numbers.randrange(40)).replace(b"$", b"").replace(b"#", b"").replace(b"k", b"")
        choice = numbers.randrange(4)
        if choice == 0:
            yield body.replace(b"\x03", b"")
        elif choice == 1:
            yield b"$" + body + b"#00"
        else:
            letter = numbers.choice([b"m", b"M", b"X", b"Z", b"z", b"p", b"P", b"G", b"H", b"T", b"q", b"Q", b"vCont;",
                                     b"C", b"_"])
            words = numbers.choice([b"", b"0,100000,1", b"100000,800", b"ffffffffffffffff,ffff", b"1=", b"0,4:\0\0\0\0",
                                    b"g-1"])
            yield frame(letter + words + body)


@pytest.mark.parametrize("seed", [1, 2])
def test_wild_packets_do_no_harm(seed):
    text = "build/guests/spinner.elf vm=spin mem=4M limit=600000\n" + COMPUTE
    with Debugged(text, "gdb=spin") as debugged:
        with debugged.connect() as line:
            line.sendall(b"+" + frame(b"qSupported:swbreak+;hwbreak+"))
            answer = b""
            while b"PacketSize" not in answer:
                answer += line.recv(4096)
            for packet in wild_packets(seed):
                line.setblocking(True)
                line.sendall(packet)
                line.setblocking(False)
                try:
                    line.recv(65536)
                except BlockingIOError:
                    pass
                time.sleep(0.01)
            line.setblocking(True)
            # Whatever state it is in now: a Ctrl-C stops it, a kill ends it.
            line.settimeout(5)
            for _ in range(LIMIT_SECONDS // 5):
                try:
                    line.sendall(b"\x03" + frame(b"?") + frame(b"k"))
                    while line.recv(65536):
                        pass
                    break
                except TimeoutError:  # bytes that came while a VM's memory was being cleared are lost
                    continue
                except ConnectionError:  # the machine is off, and has not read all of it
                    break
    assert debugged.run.reasons() == {"spin": "killed", "sum": "exit"}, str(debugged.run)
    vms.check_guest(debugged.run, "sum", "compute.elf")
    debugged.run.check_fail_end()


@pytest.mark.parametrize("options, words", [("gdb=nosuch", r"gdb=nosuch: no line defines this VM"),
                                            ("gdb=a,slowly", r"gdb=a,slowly is not accepted"),
                                            ("gdb=", r"gdb= is not accepted")])
def test_wrong_option_is_named_and_the_vm_runs(boot, options, words):
    run = boot("build/guests/hello.elf vm=a mem=8M\n", options, check=False)
    assert any(re.search(words, line) for line in run.host_lines), str(run)
    assert run.reasons() == {"a": "exit"}
    run.check_fail_end()


def test_without_a_second_port_the_vm_runs(boot):
    run = boot("build/guests/hello.elf vm=a mem=8M\n", "gdb=a")
    assert any("gdb=a: nothing answers at COM2" in line for line in run.host_lines), str(run)
    assert run.reasons() == {"a": "exit"}
    run.check_fail_end()
