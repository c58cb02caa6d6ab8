# SPDX-License-Identifier: BSD-2-Clause
"""The PC's own screen: what it shows is what the serial console has."""
import subprocess

import pytest

import machine

COLUMNS, ROWS = 80, 25
DIRECT_MAP = 0xFFFF800000000000
DEBUGGER_SECONDS = 600  # a busy host


def rows_of(lines):
    """The last rows that a terminal of that width shows, the cursor's row below them not counted."""
    rows = []
    for line in lines:
        rows += [line[at : at + COLUMNS] for at in range(0, max(len(line), 1), COLUMNS)]
    return [row.rstrip() for row in rows][-(ROWS - 1) :]


def stop_at(symbol, vms, folder, options=""):
    """Boots in Bochs's debugger until Rootlet calls this function; the rows of the text page, and the serial lines."""
    path, page, serial = folder / "test.vms", folder / "page", folder / "serial"
    path.write_text(vms)
    commands = ["c", f'writemem "{page}" {DIRECT_MAP + 0xB8000:#x} {2 * COLUMNS * ROWS}', "q"]
    words = ["tools/run-bochs", str(path), "--quiet", "--debug", "--symbols", "build/rootlet.elf", "--break", symbol,
             "--serial", str(serial), f"--options={options}"]
    subprocess.run(words + [f"--command={command}" for command in commands], cwd=machine.TREE, check=False,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                   timeout=DEBUGGER_SECONDS)
    cells = page.read_bytes()
    text = cells[::2].decode("cp437")
    return ([text[at : at + COLUMNS].rstrip() for at in range(0, len(text), COLUMNS)], cells[1::2],
            serial.read_text().splitlines())


@pytest.mark.engines
def test_screen_shows_the_console(tmp_path):
    """At the end the last lines of all, the longer ones wrapped; the cursor, inverse, is below them."""
    vms = "build/guests/hello.elf vm=hello mem=8M\nbuild/guests/hello.elf vm=late mem=8M -- after it\n"
    rows, attributes, serial = stop_at("power_off", vms, tmp_path)
    assert serial[-1] == "rootlet: end status=ok", serial
    assert any(len(line) > COLUMNS for line in serial[-15:]) and len(serial) > ROWS
    assert rows == rows_of(serial) + [""], "\n".join(rows)
    assert [at for at, attribute in enumerate(attributes) if attribute != 0x07] == [COLUMNS * (ROWS - 1)]


def test_screen_shows_a_panic(tmp_path):
    rows, _, serial = stop_at("power_off", "build/guests/hello.elf vm=hello mem=8M\n", tmp_path, "test=ud")
    assert any(line.startswith("rootlet: panic") for line in serial), serial
    assert rows == rows_of(serial) + [""], "\n".join(rows)
