# SPDX-License-Identifier: BSD-2-Clause
"""The PC's own keyboard: its keys do what a serial terminal's do."""
import re

import pytest

import rfb
import session

SPIN = "build/guests/spinner.elf vm=spin mem=4M limit=600000\n"
ECHO = "build/guests/echo.elf vm=echo mem=4M -- wait=600000\n"


def type_line(machine, keys, text):
    """Each key when the one before has been shown: a keyboard keeps few bytes."""
    for character in text:
        keys.press(character)
        machine.expect(re.escape(character))
    keys.press("Return")


@pytest.mark.engines
def test_keys_at_the_monitor():
    with session.Session(SPIN, "idle=monitor") as machine:
        machine.expect("vm start name=spin")
        with rfb.Keyboard(machine.child.pid) as keys:
            keys.press("]", held="Control")
            machine.expect("monitor state=open .*rootlet> ")
            type_line(machine, keys, "list")
            machine.expect("vm name=spin state=running.*rootlet: ok")
            machine.expect("rootlet> ")
            for key in ("Up", "Home", "Delete"):
                keys.press(key)
            machine.expect("rootlet> ist")
            for key, shown in (("x", "rootlet> xist"), ("BackSpace", "rootlet> ist"), ("L", "rootlet> List")):
                keys.press(key, held="Shift" if key.isupper() else None)
                machine.expect(shown)
            keys.press("c", held="Control")
            machine.expect("rootlet> ")
            type_line(machine, keys, "kill spin")
            machine.expect("vm stop name=spin reason=killed.*rootlet: ok")
            type_line(machine, keys, "poweroff")
        machine.end().check_fail_end()


def test_keys_for_a_vm():
    """Beside the serial port: both type for whoever has the terminal."""
    with session.Session(ECHO, "console.input=echo monitor.key=^T") as machine:
        machine.expect(r"sixteen characters at a time\s+")  # now it listens
        with rfb.Keyboard(machine.child.pid) as keys:
            machine.send("a")
            machine.expect("a")
            type_line(machine, keys, "b[")
            keys.press("t", held="Control")
            machine.expect("monitor state=open key=Ctrl-T")
        machine.ok("poweroff -t 100")
        machine.end()
