# SPDX-License-Identifier: BSD-2-Clause
"""What firmware and machines other than the usual ones ask: where the image lies, DMA, IOMMUs, serial ports."""
import os
import re
import struct
import subprocess

import pytest

from machine import TREE

HELLO = "build/guests/hello.elf vm=hello mem=8M\n"
# The multiboot2 header tag: optional, 24 bytes; its lowest address follows.
RELOCATABLE = struct.pack("<HHI", 10, 1, 24)


@pytest.fixture
def moved_kernel(tmp_path):
    """A kernel that may not be loaded below 100 MiB."""
    with open(os.path.join(TREE, "build/rootlet.elf"), "rb") as file:
        elf = file.read()
    at = elf.index(RELOCATABLE) + len(RELOCATABLE)
    path = tmp_path / "moved.elf"
    path.write_bytes(elf[:at] + struct.pack("<I", 100 << 20) + elf[at + 4 :])
    return str(path)


def check_place(run, low, high):
    assert low <= int(run.event("image")["at"], 16) < high, str(run)


@pytest.mark.parametrize("uefi", (False, True), ids=("bios", "uefi"))
def test_image_moved_in_qemu(boot_qemu, moved_kernel, uefi):
    run = boot_qemu(HELLO, cpus=2, uefi=uefi, kernel=moved_kernel)
    run.check_fail_end()
    check_place(run, 100 << 20, 4 << 30)
    assert run.event("cpus")["online"] == "2", str(run)


def test_image_moved_runs_guests(boot, moved_kernel):
    run = boot(HELLO, cpus=2, kernel=moved_kernel)
    run.check_good_end()
    check_place(run, 100 << 20, 256 << 20)


def test_image_is_where_it_was_linked(boot):
    """GRUB moves it only when it must."""
    run = boot(HELLO)
    run.check_good_end()
    check_place(run, 2 << 20, (2 << 20) + 1)


def test_image_moved_panics_with_names(boot, moved_kernel):
    run = boot(HELLO, options="test=panic-at-end", kernel=moved_kernel)
    assert run.status == 1, str(run)
    assert [line for line in run.host_lines if "run_machines" in line or "kernel_main" in line], str(run)


# ---- memory and CPUs ----

HUGE = "-object memory-backend-ram,id=r,size=600G,reserve=off -machine memory-backend=r -m 600G"


@pytest.mark.parametrize("uefi", (False, True), ids=("bios", "uefi"))
def test_more_than_512_gib(boot_qemu, uefi):
    run = boot_qemu(HELLO, cpus=2, qemu=HUGE, uefi=uefi)
    run.check_fail_end()
    assert 599 << 30 < int(run.event("boot")["mem"]) <= 600 << 30, str(run)


def test_64_cpus(boot_qemu):
    run = boot_qemu(HELLO, cpus=64)
    run.check_fail_end()
    assert run.event("cpus") == {"online": "64", "listed": "64", "highest-apic-id": "63"}, str(run)


def test_more_cpus_than_64(boot_qemu):
    run = boot_qemu(HELLO, cpus=66)
    run.check_fail_end()
    assert run.event("cpus")["online"] == "64", str(run)
    assert [line for line in run.host_lines if "2 CPUs beyond the first 64 are left out" in line], str(run)


def qemu_release():
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"version (\d+)", version).group(1))


def test_apic_id_above_255(boot_qemu):
    """Firmware lists it in an x2APIC entry of the MADT, and only x2APIC mode can name it in an IPI."""
    if qemu_release() < 9:
        pytest.skip("this Debian release's QEMU is older than 9: its own CPU has no x2APIC")
    cpus = [f"-device max-x86_64-cpu,socket-id={socket},core-id=0,thread-id=0" for socket in (3, 280)]
    run = boot_qemu(HELLO, qemu=" ".join(["-machine q35 -smp 1,maxcpus=300,sockets=300"] + cpus))
    run.check_fail_end()
    assert run.event("lapic")["mode"] == "x2apic", str(run)
    assert run.event("cpus") == {"online": "3", "listed": "3", "highest-apic-id": "280"}, str(run)


# ---- bus masters and IOMMUs ----

NIC_BEHIND_A_BRIDGE = "-device pci-bridge,id=b,chassis_nr=1 -netdev user,id=n -device e1000,netdev=n,bus=b,addr=3"


def test_bus_masters_are_stopped(boot_qemu):
    """OVMF leaves disk controller, display and network card as masters, one of them behind a bridge."""
    run = boot_qemu(HELLO, qemu=NIC_BEHIND_A_BRIDGE, options="log=debug", uefi=True)
    run.check_fail_end()
    assert run.event("pci", stopped=3)["bus-masters"] == "3", str(run)
    assert [line for line in run.host_lines if "pci 01:03.0 class=0x020000 masters the bus" in line], str(run)


def test_bus_masters_are_kept(boot_qemu):
    run = boot_qemu(HELLO, qemu=NIC_BEHIND_A_BRIDGE, options="dma=keep", uefi=True)
    assert run.event("pci", stopped=0)["bus-masters"] == "3", str(run)
    assert [line for line in run.host_lines if "warn: dma=keep: 3 bus masters" in line], str(run)


def test_iommu_is_said(boot_qemu):
    run = boot_qemu(HELLO, qemu="-machine q35,kernel-irqchip=split -device intel-iommu,intremap=on")
    run.check_fail_end()
    unit = run.event("iommu")
    assert (unit["dma-remapping"], unit["interrupt-remapping"]) == ("off", "off"), str(run)
    assert int(unit["at"], 16) == 0xFED90000, str(run)


# ---- the console ----

FILE = "-chardev file,id=c,path=serial.log"


@pytest.mark.parametrize("uefi", (False, True), ids=("bios", "uefi"))
def test_console_on_a_pci_card(boot_qemu, uefi):
    """There is no COM1: what was said before the card was found comes out, too."""
    run = boot_qemu(HELLO, qemu=f"{FILE} -device pci-serial,chardev=c", uefi=uefi)
    run.check_fail_end()
    assert run.event("console")["named-by"] == "pci", str(run)
    assert run.events("image"), str(run)


def spcr(folder, address, space=1, interface=0, access=1, irq=0):
    """The body of an SPCR, without the header, which QEMU makes."""
    gas = struct.pack("<BBBBQ", space, 8, 0, access, address)
    rest = struct.pack("<BBIBBBBBBHHBBBIBI", irq != 0, irq, 0, 7, 0, 1, 0, 3, 0, 0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0)
    body = struct.pack("<B3x", interface) + gas + rest
    path = folder / "spcr.bin"
    path.write_bytes(body)
    return f"-acpitable sig=SPCR,rev=2,data={path}"


def test_console_that_the_spcr_names(boot_qemu, tmp_path):
    run = boot_qemu(HELLO,
                    qemu=f"{FILE} -device isa-serial,iobase=0x2e8,irq=3,chardev=c {spcr(tmp_path, 0x2E8, irq=3)}")
    run.check_fail_end()
    console = run.event("console")
    assert (console["at"], console["named-by"], console["irq"]) == ("0x2e8", "spcr", "3"), str(run)
    assert not [line for line in run.host_lines if "polled" in line], str(run)


def test_console_is_moved_by_the_option(boot_qemu, tmp_path):
    words = f"{FILE} -chardev null,id=n -device isa-serial,iobase=0x3f8,chardev=n"
    run = boot_qemu(HELLO, options="console=pci", qemu=f"{words} -device pci-serial,chardev=c")
    assert run.event("console")["named-by"] == "pci" and run.event("end"), str(run)


def test_no_such_console(boot):
    run = boot(HELLO, options="console=spcr")
    run.check_good_end()
    assert [line for line in run.host_lines if "console=spcr: there is no such" in line], str(run)
