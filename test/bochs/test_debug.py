# SPDX-License-Identifier: BSD-2-Clause
"""The walk of docs/debugging.md in Bochs's debugger, typed as the page has it: first VM entry, a guest by symbol, a VM
exit, its cause, the VMCS, and step by step across the next VM entry."""
import os
import re
import subprocess

import pexpect
import pytest

import machine

PROMPT = r"<bochs:\d+> "
HELLO = "build/guests/hello.elf vm=hello mem=8M\n"


class Debugger:
    def __init__(self, vms):
        command = ["-s", "do-debug", f"VMS={vms}", "CPUS=1", "MEMORY=256", "GUEST=build/guests/hello.elf"]
        self.child = pexpect.spawn("make", command, cwd=machine.TREE, encoding="utf-8", timeout=600,
                                   dimensions=(50, 200))
        self.child.expect(PROMPT)
        self.start = self.child.before

    def type(self, command):
        """Returns what the debugger says to it."""
        self.child.sendline(command)
        self.child.expect(PROMPT)
        return re.sub(r"\x1b\[\?2004[hl]|\r", "", self.child.before)

    def end(self):
        self.child.sendline("q")
        self.child.expect(pexpect.EOF)


@pytest.fixture
def debugger(tmp_path):
    vms = tmp_path / "debug.vms"
    vms.write_text(HELLO)
    found = Debugger(vms)
    yield found
    found.child.close(force=True)


def documented(words):
    """The page shows this command."""
    with open(os.path.join(machine.TREE, "docs", "debugging.md"), encoding="utf-8") as file:
        assert words in file.read(), f"docs/debugging.md does not have: {words}"
    return words


@pytest.mark.engines
def test_walk(debugger):
    assert "(vmx_enter_guest+0)" in debugger.start

    debugger.type(documented("d 1"))
    debugger.type(documented('lb "hello:guest_main"'))
    assert "(hello:guest_main+0)" in debugger.type("c")
    assert re.search(r"rip: 00000000_0010[0-9a-f]{4}", debugger.type("r"))  # the guest's registers, not the host's
    assert "Execute/Read, Non-Conforming, Accessed, 32-bit" in debugger.type("sreg")
    assert "(hello:guest_start+" in debugger.type(documented("print-stack 3"))

    assert "break enabled" in debugger.type(documented("vmexitbp"))
    stop = debugger.type("c")
    assert "Caught VMEXIT breakpoint" in stop and "(vmx_exit_entry+0)" in stop

    # The cause: the VMREAD of the exit reason gives 1EH, I/O instruction; that of the qualification IN from port 3FDH.
    debugger.type(documented("trace-mem on"))
    trace = debugger.type(documented("s 120"))
    debugger.type("trace-mem off")
    reads = re.findall(r"RD\]: PHY 0x[0-9a-f]+ \(len=\d, \w+\): ([0-9A-Fx ]+?)\s*; VMCS", trace)
    assert "0x0000001E" in reads and "0x00000000 0x03FD0008" in reads, trace

    controls = debugger.type(documented('show "cpu0.VMX.VMCS_CACHE.VMEXEC_CTRLS"'))
    # The pin-based controls: Bochs 2.7 numbers them as the first of three, 3.0 does not.
    assert re.search(r"(pin_vmexec_ctrls|vmexec_ctrls1) = 0x000000[0-9a-f]{2}\n", controls)
    assert re.search(r"eptptr = 0x[0-9a-f]+01e\n", controls)
    host = debugger.type(documented('show "cpu0.VMX.VMCS_CACHE.HOST_STATE"'))
    names = subprocess.run(["nm", "build/rootlet.elf"], cwd=machine.TREE, text=True, check=True,
                           capture_output=True).stdout
    entry_point = re.search(r"^0*([0-9a-f]{16}) \w vmx_exit_entry$", names, re.MULTILINE).group(1)
    assert f"  RIP = 0x{entry_point}\n" in host

    # Step across the entry: the instruction after VMRESUME is the guest's.
    debugger.type("vmexitbp")
    debugger.type(documented('lb "vmx_enter_guest"'))
    assert "(vmx_enter_guest+0)" in debugger.type("c")
    assert ": vmresume " in debugger.type(documented("s 21"))
    assert "(hello:" in debugger.type("s")
    debugger.end()


def test_wrong_guest_symbols_are_named(tmp_path):
    vms = tmp_path / "debug.vms"
    vms.write_text(HELLO)
    command = [os.path.join(machine.TREE, "tools", "run-bochs"), str(vms), "--debug", "--guest-symbols"]
    result = subprocess.run(command + ["a=none"], cwd=machine.TREE, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "none: no such file" in result.stderr
    result = subprocess.run(command + [str(vms)], cwd=machine.TREE, capture_output=True, text=True, input="q\n",
                            check=False)
    assert result.returncode == 1 and "no symbols" in result.stderr
