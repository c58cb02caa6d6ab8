"""What firmware and boot loaders other than the usual ones do: a kernel that GRUB must place elsewhere."""
import os
import struct

import pytest

from machine import TREE

HELLO = "build/guests/hello.elf vm=hello mem=8M\n"
RELOCATABLE = struct.pack("<HHI", 10, 1, 24)  # the multiboot2 header tag: optional, 24 bytes; its lowest address follows


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
