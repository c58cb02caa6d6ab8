# SPDX-License-Identifier: BSD-2-Clause
"""The capability report: log=debug prints it at boot, and tools/vmx-caps makes the same of the saved log."""
import os
import subprocess

import pytest

import machine
import vms

HELLO = "build/guests/hello.elf vm=hello mem=8M\n"
TOOL = os.path.join(machine.TREE, "tools", "vmx-caps")
PREFIX = "rootlet: debug: vmx "


def vmx_caps(text):
    return subprocess.run([TOOL, "-"], input=text, capture_output=True, text=True, check=False)


def printed(run):
    return [line[len("rootlet: debug: ") :] for line in run.lines if line.startswith(PREFIX)]


@pytest.mark.parametrize("model, options", [(model, "log=debug") for model in vms.MODELS] + [
    (vms.MODELS[0], "log=debug vmx.disable=vpid,ept-2m,apicv"),
])
def test_tool_prints_what_the_boot_printed(boot, model, options):
    run = boot(HELLO, options, model=model)
    run.check_good_end()
    lines = printed(run)
    result = vmx_caps("\n".join(run.lines))
    assert result.returncode == 0 and result.stdout.splitlines() == lines, result.stderr + str(run)
    assert lines[-1] == "vmx verdict this CPU has all that Rootlet needs"
    assert max(len(line) for line in run.lines if line.startswith(PREFIX)) <= 160


def test_report_is_of_the_controls_in_use(boot):
    """The values at log=info are those of the report, feature by feature."""
    run = boot(HELLO, "log=debug vmx.disable=vpid,ept-2m,apicv", model=vms.MODELS[0])
    groups = {"pin": "pin-based", "proc": "primary processor-based", "proc2": "secondary processor-based",
              "exit": "VM-exit", "entry": "VM-entry"}
    used = next(event for event in run.events("vmx") if "proc2" in event)
    for key, group in groups.items():
        assert [line for line in printed(run)
                if line.startswith(f'vmx group="{group}"') and line.endswith(f"value={used[key]}")]
    fallbacks = {line.split("feature=")[1].split()[0] for line in printed(run) if line.startswith("vmx fallback")}
    # Without apicv there are no posted interrupts. Bochs 2.7 gets XSAVES wrong.
    withheld = {"xsaves"} if machine.engine_name() == "bochs2" else set()
    assert fallbacks == {"vpid", "ept-2m", "ept-1g", "apicv", "posted-interrupts"} | withheld


def test_no_report_without_debug(boot):
    assert not printed(boot(HELLO, model=vms.MODELS[0]))


def test_refusal_is_explained(boot):
    """A CPU that Rootlet refuses has its report before the refusal, and the tool says the same with status 1."""
    run = boot(HELLO, "log=debug", model="corei5_lynnfield_750")
    refused = [line for line in printed(run) if line.startswith("vmx verdict refused: ")]
    assert len(refused) == 1, str(run)
    assert "rootlet: error: " + refused[0].removeprefix("vmx verdict refused: ") in run.lines, str(run)
    result = vmx_caps("\n".join(run.lines))
    assert result.returncode == 1 and result.stdout.splitlines() == printed(run)


def test_plain_lines_and_two_boots(boot):
    run = boot(HELLO, "log=debug", model=vms.MODELS[2])  # nothing withheld there, which no MSR would say
    values = [line.split() for line in printed(run) if line.startswith("vmx cap msr=")]
    plain = "".join(f"{msr[len('msr=') :]}: {value[len('value=') :]}\n" for _, _, msr, _, value in values)
    assert vmx_caps(plain).stdout.splitlines() == [line for line in printed(run) if "vmx speculation" not in line]
    said = dict(pair.split("=") for line in printed(run) if "speculation cpu" in line for pair in line.split()[3:])
    plain += ("   0x00000000 0x00: eax=0x00000016 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69\n"
              f"   0x00000001 0x00: eax={said['signature']} ebx=0x0 ecx=0x0 edx=0x0\n"
              f"   0x00000007 0x00: eax=0x00000002 ebx={said['ebx7']} ecx=0x0 edx={said['edx7']}\n"
              f"   0x00000007 0x02: eax=0x0 ebx=0x0 ecx=0x0 edx={said['edx7.2']}\n0x10a {said['capabilities']}\n")
    assert vmx_caps(plain).stdout.splitlines() == printed(run)
    other = boot(HELLO, "log=debug vmx.disable=vpid,ept-2m,apicv", model=vms.MODELS[0])
    assert vmx_caps("\n".join(other.lines + run.lines)).stdout.splitlines() == printed(run)


def test_unusable_input_is_named():
    result = vmx_caps("nothing here\n")
    assert result.returncode == 1 and "log=debug" in result.stderr
    result = vmx_caps("0x3a 0x5\n0x480 0x00d810000000002b\n")
    assert result.returncode == 1 and "IA32_VMX_TRUE_ENTRY_CTLS (0x490)" in result.stderr and not result.stdout
    assert subprocess.run([TOOL, "nosuch"], capture_output=True, check=False).returncode == 2
    assert subprocess.run([TOOL], capture_output=True, check=False).returncode == 2
