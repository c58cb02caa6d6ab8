# SPDX-License-Identifier: BSD-2-Clause
"""The trace viewer says what tools/trace says of the same log; it needs no mouse and no wide screen."""
import json
import os
import random
import re
import subprocess
import sys

import pytest

import trace_log
from browser import TREE

TOOL = os.path.join(TREE, "tools", "trace")
RECORDED = os.path.join(TREE, "test", "site", "trace.log")
sys.path.insert(0, os.path.join(TREE, "tools"))
import trace_record  # noqa: E402

T0 = 1 << 54  # a number that a double does not hold exactly


def tool(path, *arguments):
    return subprocess.run([TOOL, str(path), *arguments], check=True, capture_output=True, text=True).stdout


def give(page, path):
    """The viewer with this log."""
    page.open("trace.html")
    page.one("#file").send_keys(str(path))
    page.wait(lambda: page.one("#summary").text or page.one("#problem").text)


def tables_of_the_tool(path, *arguments):
    """The tables as rows of cells, without their headings."""
    tables = tool(path, *arguments).strip().split("\n\n")[1:]
    return [[re.split(r"  +", line) for line in table.splitlines()[1:]] for table in tables]


def tables_of_the_page(page):
    return page.js("""[...document.querySelectorAll("#tables table")].map((table) =>
        [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent)))""")


def same(ours, theirs):
    """Shares are rounded, half to even in one language and up in the other."""
    if ours.endswith(" %") and theirs.endswith(" %"):
        return abs(float(ours[:-2]) - float(theirs[:-2])) < 0.11
    return ours == theirs


def check_tables(page, path, *arguments):
    ours, theirs = tables_of_the_page(page), tables_of_the_tool(path, *arguments)
    assert [[len(row) for row in table] for table in ours] == [[len(row) for row in table] for table in theirs]
    for our_table, their_table in zip(ours, theirs):
        for our_row, their_row in zip(our_table, their_table):
            assert all(map(same, our_row, their_row)), (our_row, their_row)


def check_list(page, path):
    ours = page.js("recordLines()")
    for our_line, their_line in zip(ours, tool(path, "--list").splitlines()):
        our_time, our_words = our_line.split(maxsplit=1)
        their_time, their_words = their_line.split(maxsplit=1)
        assert our_words == their_words and abs(float(our_time) - float(their_time)) < 0.0011
    assert len(ours) == len(tool(path, "--list").splitlines())


def written(tmp_path, log):
    path = tmp_path / "console.txt"
    path.write_text(log.text(), newline="")
    return path


def test_a_run_of_bochs(page):
    give(page, RECORDED)
    assert "5 VMs, 886 exits" in page.one("#summary").text
    check_tables(page, RECORDED)
    check_list(page, RECORDED)
    lanes = {text.get_attribute("textContent") for text in page.all("#picture text")}
    assert {"CPU 0", "CPU 1", "smp/0", "smp/1", "timer", "hello", "light", "heavy"} <= lanes


def test_the_example_is_such_a_run(page):
    page.open("trace.html")
    page.one("#example").click()
    assert "886 exits" in page.one("#summary").text


@pytest.mark.parametrize("seed", range(4))
def test_random_schedules(page, tmp_path, seed):
    log = trace_log.Machine(seed, cpus=1 + seed, vms=5).log
    if seed % 2:
        log.drop(0, "exits", 40)
        log.drop(seed, "events", 10)
    path = written(tmp_path, log)
    give(page, path)
    page.js("DO.whole()")  # it may begin where all is known; the tool's tables begin at the first record
    check_tables(page, path)
    check_list(page, path)
    lost = [line for line in tool(path).splitlines() if line.startswith("note: ")]
    assert [f"note: {note.text}" for note in page.all("#warnings .notice")] == lost


def test_every_cause_and_detail_in_words(page, tmp_path):
    """Any values: the words are the tool's."""
    chance, log, at = random.Random(7), trace_log.Log(), T0
    log.vm(1, "one")
    log.vm(2, "two", 3)
    log.event(0, at, trace_log.VM_START, 0x10)
    for cause in [*range(68), *range(128, 150)] * 4:
        at += chance.randrange(1, 5000)
        detail = chance.choice((chance.getrandbits(64), chance.getrandbits(12), chance.getrandbits(3), (1 << 64) - 1,
                                1 << 31 | chance.getrandbits(11)))
        ring = "exits" if cause <= 128 else "events"
        log.add((0, ring), at, chance.getrandbits(64), detail, at + chance.randrange(400),
                chance.choice((0x10, 0x20, 0x22, 0x31)), cause, chance.choice((*range(8), 0x20, 0xff)))
    path = written(tmp_path, log)
    give(page, path)
    check_list(page, path)
    used = set(trace_record.DETAIL_FORMS.values())
    assert used == set(trace_record.FORMS) and page.js("Object.keys(FORMS).sort()") == sorted(used)


def test_one_vm_of_them(page):
    give(page, RECORDED)
    page.one("#vm").send_keys("timer")
    page.wait(lambda: len(tables_of_the_page(page)[2]) == 1)
    check_tables(page, RECORDED, "--vm", "timer")


def test_a_part_of_the_time(page):
    give(page, RECORDED)
    page.js("select(model.trace.tscHz * 0.02, model.trace.tscHz * 0.04)")
    assert page.one("#part").text == "20.000 to 40.000 ms"
    check_tables(page, RECORDED, "--from", "20", "--to", "40")


def test_keys_move_and_zoom(page):
    give(page, RECORDED)
    shown, box = page.one("#part"), page.one("#picture")
    whole = shown.text
    assert box.get_attribute("tabindex") == "0"
    box.send_keys("+")
    inner = shown.text
    assert inner != whole
    box.send_keys("\ue014")  # right arrow
    assert shown.text not in (whole, inner)
    box.send_keys("0")
    assert shown.text == whole


def test_the_list_begins_short(page):
    give(page, RECORDED)
    shown = page.one("#records").get_attribute("textContent").split("\n")
    everything = page.js("recordLines()")
    assert 100 < len(shown) < len(everything) and shown == everything[: len(shown)]
    page.one("#more").click()
    shown = page.one("#records").get_attribute("textContent").split("\n")
    assert shown == everything and not page.one("#more").is_displayed()


def test_lines_can_be_chosen(page):
    give(page, RECORDED)
    page.one("#filter").send_keys("vm-stop")
    assert page.one("#count").text.startswith("5 of 5 records")
    assert page.one("#records").text.count("vm-stop") == 5


def test_the_timeline_for_perfetto_is_the_tools(page, tmp_path):
    """But for colours, which only an older viewer shows."""
    give(page, RECORDED)
    ours = json.loads(page.js("new TimelineWriter(model).text()"))
    theirs = json.loads(tool(RECORDED, "--json", "-"))
    assert ours["otherData"] == theirs["otherData"]
    for event in theirs["traceEvents"]:
        event.pop("cname", None)

    def listed(document):
        return sorted(json.dumps({**event, "ts": float(event["ts"]), "dur": float(event.get("dur", 0))},
                                 sort_keys=True) for event in document["traceEvents"])

    assert listed(ours) == listed(theirs)


@pytest.mark.parametrize("text, words", [
    ("rootlet: boot version=0.1\n", "There is no trace in this text"),
    ("rootlet: trace version=9 tsc_hz=1 cpus=1 record_bytes=32\n", "reads version 1"),
    ("rootlet: trace end\n", "without their first one"),
    ("rootlet: trace version=1 tsc_hz=1 cpus=1 record_bytes=32\nrootlet: trace end\n", "no virtual machine ran"),
])
def test_what_is_no_trace_is_said(page, tmp_path, text, words):
    (tmp_path / "log").write_text(text)
    give(page, tmp_path / "log")
    assert words in page.one("#problem").text and not page.one("#view").is_displayed()


def test_what_is_damaged_is_said_and_the_rest_shown(page, tmp_path):
    lines = open(RECORDED, encoding="utf-8").read().split("\n")
    data = [number for number, line in enumerate(lines) if "trace data=" in line]
    lines[data[3]] = "rootlet: trace data=AAAA"
    (tmp_path / "log").write_text("\n".join(lines[: data[-1]]))
    give(page, tmp_path / "log")
    notes = " ".join(note.text for note in page.all("#warnings .notice"))
    assert f"line {data[3] + 1} is damaged" in notes and "cut off" in notes and "of its" in notes
    assert page.one("#picture svg").is_displayed()


@pytest.mark.parametrize("dark", [False, True])
def test_narrow_and_dark(page, dark):
    page.look(width=400, dark=dark)
    give(page, RECORDED)
    assert page.too_wide() <= 0
    assert max(page.ground()) < 80 if dark else min(page.ground()) > 200


def test_names_for_a_screen_reader(page):
    give(page, RECORDED)
    assert page.unnamed() == []
    assert page.one("#picture svg").get_attribute("role") == "img"
    assert "2 CPUs" in page.one("#picture svg").get_attribute("aria-label")
    assert all(table.find_elements("css selector", "caption") for table in page.all("table"))
