# SPDX-License-Identifier: BSD-2-Clause
"""The firmware of a VM: its BIOS as guests/bios sees it, boot sectors that nobody here wrote, what is refused because
it wants more of a BIOS than there is; and the MP table."""
import re

import pytest

import machine

PAYLOADS = "build/payloads"


@pytest.fixture(scope="module")
def sectors(boot):
    return boot(
        "build/guests/bios.bin vm=bios mem=2M kind=flat16 limit=10000\n"
        f"{PAYLOADS}/mbr.bin vm=mbr mem=1M kind=flat16 limit=10000 dump=screen\n"
        f"{PAYLOADS}/boot.img vm=grub mem=1M limit=10000 stealth=on\n")


@pytest.mark.engines
def test_services(sectors):
    """The guest checks each answer; what is not there is said once, on a line of its own."""
    assert sectors.event("vm stop", name="bios")["reason"] == "poweroff", str(sectors)
    assert sectors.output("bios") == [
        "bios: hello by INT 10h",
        "string",
        "no BIOS: INT 0x13 AH=0x2",
        "no BIOS: INT 0x42 AH=0x5a",
        "half a line",
        "no BIOS: INT 0xff AH=0x7f",
        "bios ok",
    ], str(sectors)


@pytest.mark.engines
def test_a_master_boot_record(sectors):
    """It finds no partition, says so, and asks for the next boot device: that is the end."""
    assert sectors.event("vm stop", name="mbr")["reason"] == "halt", str(sectors)
    output = sectors.output("mbr")
    assert "Missing operating system." in output and "no BIOS: INT 0x13 AH=0x8" in output, output
    assert sectors.screen("mbr") == ["Missing operating system."], str(sectors)


@pytest.mark.engines
def test_grubs_boot_sector(sectors):
    assert sectors.event("vm start", name="grub")["kind"] == "flat16"
    assert sectors.event("vm stop", name="grub")["reason"] == "halt", str(sectors)
    output = sectors.output("grub")
    assert output[0].strip() == "GRUB", output
    assert [line for line in output if re.fullmatch(r"(Floppy|Hard Disk|Read) Error", line)], output
    assert [line for line in output if line.startswith("no BIOS: INT 0x13 ")], output
    sectors.check_good_end()


@pytest.mark.parametrize("name, words", [
    ("ipxe.lkrn", r"only has a real-mode entry \(code32_start is 0\), and wants a PC's BIOS"),
    ("memdisk", r"boot protocol 2\.03; needed: .* only has a real-mode entry, and wants a PC's BIOS"),
])
def test_refused(boot, name, words):
    run = boot(f"{PAYLOADS}/ipxe.lkrn vm=ipxe.lkrn mem=32M\n{PAYLOADS}/memdisk vm=memdisk mem=32M\n", check=False)
    machine.need(f"{PAYLOADS}/{name}")
    why = run.event("vm refused", name=name)["why"]
    assert re.search(words, why), why


@pytest.mark.engines
def test_a_kernel_that_knows_the_mp_table_alone(boot):
    """It starts its processors, and takes timer and I/O APIC interrupts where it wants them, also as one processor."""
    cpus = {"one": 1, "two": 2, "sixteen": 16, "stealth": 4}
    run = boot("".join(f"build/guests/mpkernel.elf vm={name} mem=4M cpus={n} limit=60000 "
                       f"{'stealth=on' if name == 'stealth' else ''}\n" for name, n in cpus.items()), cpus=2)
    run.check_good_end()
    for name, n in cpus.items():
        assert run.output(name) == [f"mpkernel ok cpus={n} pit_pin=2 pit_cpu={n - 1} uart_pin=4"], str(run)
