# SPDX-License-Identifier: BSD-2-Clause
"""The console on a linear framebuffer, which is all that UEFI leaves; also on a machine without a serial port."""
import json
import os
import shutil
import socket
import subprocess
import time

import pytest

import machine
import test_screen

import qemu  # noqa: E402: machine.py has put tools/ into the path

FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
GLYPH_WIDTH, GLYPH_HEIGHT = 8, 16
RUN_SECONDS = 600  # a busy host


class Qmp:
    def __init__(self, path, process):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(RUN_SECONDS)
        while self.socket.connect_ex(path) != 0:
            assert process.poll() is None, "QEMU ended before it listened"
            time.sleep(0.1)
        self.stream = self.socket.makefile("rw")
        self.events = []
        self.wait("QMP")
        self.command("qmp_capabilities")

    def wait(self, key, value=None):
        """The next message that has this key (with this value)."""
        for line in self.stream:
            message = json.loads(line)
            self.events += [message["event"]] if "event" in message else []
            if key in message and value in (None, message[key]):
                return message
        raise AssertionError(f"QEMU ended before {key} {value}")

    def command(self, name, **arguments):
        self.stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.stream.flush()
        return self.wait("return")

    def press_until_it_ends(self):
        """A key that types nothing: without a serial port the last screen stays until there is one."""
        while "SHUTDOWN" not in self.events:
            self.command("send-key", keys=[{"type": "qcode", "data": "shift"}])
            time.sleep(1)


def boot_uefi(folder, serial):
    """Boots until the machine powers off; its screen as rows of pixels, which are True or False."""
    vms, iso = folder / "test.vms", folder / "boot.iso"
    vms.write_text("build/guests/hello.elf vm=hello mem=8M\n")
    subprocess.run(["tools/mkiso", str(vms), "-o", str(iso)], cwd=machine.TREE, check=True)
    shutil.copyfile(FIRMWARE.replace("CODE", "VARS"), folder / "vars.fd")
    command = qemu.command(1, 256, qemu.TCG, flash=FIRMWARE)
    command[command.index("file:serial.log")] = serial
    command[command.index("stdio")] = "unix:qmp,server=on,wait=off"
    process = subprocess.Popen(command + ["-no-shutdown"], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        qmp = Qmp(str(folder / "qmp"), process)
        qmp.press_until_it_ends()
        qmp.command("screendump", filename=str(folder / "screen.ppm"))
    finally:
        process.kill()
        process.wait()
    kind, size, _, pixels = (folder / "screen.ppm").read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    assert kind == b"P6"
    return [[pixels[3 * at] > 0 for at in range(y * width, (y + 1) * width)] for y in range(height)]


def glyphs():
    """The kernel's font: what each glyph looks like, its inverse too -> its character."""
    with open(os.path.join(machine.TREE, "build/drivers/host/font.bin"), "rb") as file:
        font = file.read()
    found = {}
    for code in range(ord(" "), ord("~") + 1):
        glyph = font[(code - 32) * GLYPH_HEIGHT : (code - 31) * GLYPH_HEIGHT]
        found[glyph] = chr(code)
    found[b"\xff" * GLYPH_HEIGHT] = " "  # the cursor
    return found


def read_text(rows):
    known = glyphs()
    text = []
    for top in range(0, test_screen.ROWS * GLYPH_HEIGHT, GLYPH_HEIGHT):
        line = ""
        for left in range(0, test_screen.COLUMNS * GLYPH_WIDTH, GLYPH_WIDTH):
            cell = bytes(int("".join("01"[pixel] for pixel in rows[top + y][left : left + GLYPH_WIDTH]), 2)
                         for y in range(GLYPH_HEIGHT))
            line += known[cell]
        text.append(line.rstrip())
    return text


@pytest.mark.parametrize("serial", ["file:serial.log", "none"])
def test_uefi_screen_shows_the_console(tmp_path, serial):
    """QEMU's own CPU has no VMX: what is seen is the boot, and the refusal."""
    rows = boot_uefi(tmp_path, serial)
    text = read_text(rows)
    assert not any(any(row) for row in rows[test_screen.ROWS * GLYPH_HEIGHT :])  # firmware's picture is gone
    end = text.index("rootlet: end status=fail")
    assert text[end + 1 :] == [""] * (len(text) - end - 1)
    assert "rootlet: info: ioapic pins=24" in text and any("has no VMX" in line for line in text)
    if serial != "none":
        lines = (tmp_path / "serial.log").read_text(errors="replace").splitlines()
        lines = [line for line in lines if line.startswith("rootlet: ")]
        assert text[: end + 1] == test_screen.rows_of(lines)
