# SPDX-License-Identifier: BSD-2-Clause
"""The keyboard of a machine in Bochs: its display is a VNC server. RFC 6143, "The Remote Framebuffer Protocol"."""
import contextlib
import os
import re
import socket
import struct
import threading
import time

NAMED = {"Return": 0xFF0D, "BackSpace": 0xFF08, "Left": 0xFF51, "Up": 0xFF52, "Right": 0xFF53, "Home": 0xFF50,
         "End": 0xFF57, "Delete": 0xFFFF, "Control": 0xFFE3, "Shift": 0xFFE1, "Tab": 0xFF09}
LISTENS = re.compile(r"listening for connections on port (\d+)")
START_SECONDS = 300  # a busy host


def descendants(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            yield child
            yield from descendants(child)


def port_of(pid):
    """The port of the Bochs that this run-bochs has started."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        for child in descendants(pid):
            try:
                with open(os.path.join(os.readlink(f"/proc/{child}/cwd"), "bochs.log"), errors="replace") as file:
                    found = LISTENS.search(file.read())
            except OSError:
                continue
            if found:
                return int(found.group(1))
        time.sleep(0.1)
    raise AssertionError("Bochs has no VNC server")


class Keyboard:
    """with Keyboard(pid of run-bochs) as keys: keys.press("a"), keys.press("Left"), keys.press("]", held="Control")."""

    def __init__(self, pid):
        self.socket = socket.create_connection(("localhost", port_of(pid)), timeout=START_SECONDS)

    def __enter__(self):
        version = self.receive(12)
        assert version.startswith(b"RFB 003."), version
        self.socket.sendall(b"RFB 003.003\n")
        assert struct.unpack(">I", self.receive(4)) == (1,), "no authentication"
        self.socket.sendall(b"\x01")
        size = struct.unpack(">20xI", self.receive(24))[0]
        self.receive(size)
        threading.Thread(target=self.forget, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.close()

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "Bochs has closed the connection"
            data += part
        return data

    def forget(self):
        """What Bochs draws: it waits for a client that does not read."""
        with contextlib.suppress(OSError):
            self.socket.settimeout(None)
            while self.socket.recv(65536):
                pass

    def event(self, key, down):
        self.socket.sendall(struct.pack(">BBxxI", 4, down, NAMED[key] if key in NAMED else ord(key)))

    def press(self, key, held=None):
        if held:
            self.event(held, True)
        self.event(key, True)
        self.event(key, False)
        if held:
            self.event(held, False)
