# SPDX-License-Identifier: BSD-2-Clause
"""The demo of make run: every guest of it, an unmodified payload among them, and the end in good order."""
import re
import subprocess

import pytest

import vms

DEMO = "guests/demo.vms"


@pytest.fixture(scope="module")
def demo(boot):
    return boot(DEMO, cpus=2, memory=512)


def test_ends_well(demo):
    demo.check_good_end()


def test_each_cpu_enters_and_leaves_vmx(demo):
    start = demo.event("boot")
    assert start["cpus"] == "2" and int(start["mem"]) > 400 << 20
    assert start["version"] == vms.read("VERSION").strip()
    for cpu in ("0", "1"):
        assert demo.event("cpu", id=cpu, vmx="root")["apic"].isdigit()
        demo.event("cpu", id=cpu, vmx="off")


def test_each_guest_does_its_work(demo):
    text = vms.read(DEMO)
    names = vms.payloads(text)
    assert "invaders.exec" in names.values() and len(names) >= 5
    vms.check_guests(demo, text)


def test_start_lines_say_what_was_asked_for(demo):
    start = demo.event("vm start", name=next(iter(vms.payloads(vms.read(DEMO)))))
    assert start["kind"] in ("flat16", "multiboot", "multiboot2")
    assert int(start["mem"]) >= 1 << 20 and int(start["cpus"]) >= 1


def test_statistics_for_each_vm(demo):
    for name in vms.payloads(vms.read(DEMO)):
        stats = demo.event("vm stats", name=name)
        assert {"run_us", "slices", "entries", "exits", "migrations"} <= stats.keys()
        assert int(stats["entries"]) >= int(stats["slices"]) >= 1
        causes = demo.event("vm exits", name=name)
        assert sum(int(count) for cause, count in causes.items() if cause != "name") == int(stats["exits"])


def test_invaders_screen(demo):
    """The unmodified payload draws its game: dump=screen shows the text page."""
    name = next(name for name, payload in vms.payloads(vms.read(DEMO)).items() if payload == "invaders.exec")
    screen = demo.screen(name)
    assert len(screen) <= 25 and screen[-1], str(demo)
    text = "\n".join(screen)
    assert text.count("-*-") >= 20 and "/ \\" in text, text  # the invaders in their rows, and the player's ship


def test_screen_ends_with_its_last_row(boot, tmp_path):
    """dump=screen leaves out the blank rows at the end, keeps those between, and shows one row of a blank page."""
    source, image = tmp_path / "rows.asm", tmp_path / "rows.bin"
    source.write_text(
        "org 0x7c00\n mov ax, 0xb800\n mov ds, ax\n"
        " mov byte [2 * 160], 'a'\n mov byte [4 * 160 + 158], 'b'\n cli\n hlt\n"
        "times 510 - ($ - $$) db 0\n dw 0xaa55\n"
    )
    subprocess.run(["nasm", "-f", "bin", source, "-o", image], check=True)
    run = boot(f"{image} vm=rows mem=2M dump=screen\nbuild/guests/timer.elf vm=blank mem=4M dump=screen -- ticks=1\n")
    run.check_good_end()
    assert run.screen("rows") == ["", "", "a", "", "b"], str(run)
    assert run.screen("blank") == [""], str(run)


def test_every_line_belongs_to_someone(demo):
    """Nothing but whole lines: Rootlet's own or a guest's under its name."""
    names = "|".join(map(re.escape, vms.payloads(vms.read(DEMO))))
    strange = [line for line in demo.lines if line and not re.match(rf"(rootlet: |\[({names})\] )", line)]
    assert not strange, strange


def test_modules_and_stealth(boot, tmp_path):
    """A module reaches its guest with its words; a stealthy VM finds no hypervisor and ends as on a PC."""
    words = tmp_path / "words.txt"
    words.write_text("some words of a module\n")
    run = boot(
        f"build/guests/hello.elf vm=open mem=8M -- a b\n{words} vm=open role=module -- label\n"
        "build/guests/hello.elf vm=hidden mem=8M stealth=on\n"
    )
    run.check_good_end()
    assert 'hello module "label": 23 bytes' in run.output("open"), str(run)
    assert run.event("vm stop", name="open")["reason"] == "exit", str(run)
    assert "hello: no hypervisor in sight" in run.output("hidden"), str(run)
    assert run.event("vm stop", name="hidden")["reason"] == "poweroff", str(run)
