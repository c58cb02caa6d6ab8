# SPDX-License-Identifier: BSD-2-Clause
"""Bad input: one clear line each that names the module and the remedy, and the other VMs run."""
import os
import re
import subprocess

import pytest

import machine

HELLO = "build/guests/hello.elf"
GOOD = f"{HELLO} vm=first mem=8M\n"
# What stands after the payload, and what the refusal must name.
WRONG_LINES = {
    "key": ("vm=key mem=8M colour=red", r"colour"),
    "word": ("vm=word mem=8M quickly", r"quickly"),
    "twice": ("vm=twice mem=8M mem=9M", r"mem"),
    "size": ("vm=size mem=lots", r"mem"),
    "tiny": ("vm=tiny mem=4K", r"mem"),
    "huge": ("vm=huge mem=9999999999999999999999G", r"mem"),
    "big": ("vm=big mem=32G", r"mem"),
    "odd": ("vm=odd mem=8193K1", r"mem"),
    "cpus": ("vm=cpus mem=8M cpus=0", r"cpus"),
    "many": ("vm=many mem=8M cpus=1000000", r"cpus"),
    "weight": ("vm=weight mem=8M weight=-1", r"weight"),
    "cap": ("vm=cap mem=8M cap=0", r"cap"),
    "mask": ("vm=mask mem=8M affinity=9-3", r"affinity"),
    "nocpu": ("vm=nocpu mem=8M affinity=63", r"affinity|CPU"),
    "limit": ("vm=limit mem=8M limit=soon", r"limit"),
    "dump": ("vm=dump mem=8M dump=core", r"dump"),
    "kind": ("vm=kind mem=8M kind=windows", r"kind"),
    "later": ("vm=later mem=8M sound=on", r"sound"),
    "role": ("vm=role role=disk", r"role"),
    "orphan": ("vm=orphan role=module", r"role|boot|orphan"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images that are broken in one way each: name -> (path, kind= and more, what the refusal must name)."""
    folder = tmp_path_factory.mktemp("images")
    with open(os.path.join(machine.TREE, HELLO), "rb") as file:
        hello = file.read()
    # The file ends within the first segment (ELF32: e_phoff at 28, p_offset at 4 in a program header).
    headers = int.from_bytes(hello[28:32], "little")
    first_segment = int.from_bytes(hello[headers + 4 : headers + 8], "little")
    # Where the program headers are, in the ELF32 header, put beyond the end of the file.
    far = hello[:28] + b"\xf0\xff\xff\x7f" + hello[32:]
    images = {
        "head": (hello[:40], "", r"truncated|guest|kind|ELF"),
        "half": (hello[: first_segment + 16], "kind=multiboot", r"truncated"),
        "far": (far, "kind=multiboot", r"truncated|program header"),
        "text": (b"This is a text file, not a guest.\n" * 50, "", r"kind|guest|image"),
        "zeros": (bytes(5000), "", r"kind|guest|image"),
        "notmb": (b"\x7fELF" + bytes(3000), "kind=multiboot", r"header|ELF"),
        "notmb2": (hello, "kind=multiboot2", r"multiboot2 header"),
        "bigboot": (bytes(510) + b"\x55\xaa" + bytes(700000), "kind=flat16", r"flat16"),
    }
    made = {}
    for name, (content, keys, words) in images.items():
        path = folder / name
        path.write_bytes(content)
        made[name] = (path, keys, words)
    return made


def refusal(run, name):
    refused = run.event("vm refused", name=name)
    assert not run.events("vm start", name=name), str(run)
    return refused["why"]


# What depends on the machine that runs the line.
ONLY_THE_MACHINE_KNOWS = {"big", "nocpu"}


@pytest.fixture(scope="module")
def wrong_lines(boot):
    text = GOOD + "".join(f"{HELLO} {line}\n" for line, _ in WRONG_LINES.values())
    text += f"{HELLO} mem=8M\n{HELLO} vm=a/b mem=8M\n{HELLO} vm={'n' * 40} mem=8M\n"
    text += f"{HELLO} vm=first mem=8M\n{HELLO} vm=last mem=8M -- still alive\n"
    return boot(text, memory=256, check=False)


def checked(tmp_path, line):
    """mkiso --check on a good line and this one."""
    path = tmp_path / "wrong.vms"
    path.write_text(GOOD + f"{HELLO} {line}\n")
    return subprocess.run(["tools/mkiso", "--check", str(path)], cwd=machine.TREE, capture_output=True, text=True,
                          check=False)


@pytest.mark.parametrize("name", sorted(set(WRONG_LINES) - ONLY_THE_MACHINE_KNOWS))
def test_mkiso_says_the_same_of_a_wrong_line(wrong_lines, tmp_path, name):
    """The same parser speaks; only of a role= without a boot image it has words of its own."""
    result = checked(tmp_path, WRONG_LINES[name][0])
    said = f"{tmp_path}/wrong.vms:2: " + ("role=module, but" if name == "orphan" else refusal(wrong_lines, name))
    assert result.returncode == 1 and result.stderr.startswith(f"mkiso: {said}"), result.stderr


@pytest.mark.parametrize("name", WRONG_LINES)
def test_wrong_line_is_refused(wrong_lines, name):
    assert re.search(WRONG_LINES[name][1], refusal(wrong_lines, name)), str(wrong_lines)


def test_lines_without_a_usable_name_are_refused(wrong_lines):
    text = "\n".join(refused["why"] for refused in wrong_lines.events("vm refused"))
    assert re.search(r"no vm=", text) and "a/b" in text and "nnnnnnnnnnnn" in text, str(wrong_lines)


def test_second_definition_is_refused_and_the_first_runs(wrong_lines):
    assert wrong_lines.events("vm refused", name="first"), str(wrong_lines)
    assert wrong_lines.event("vm stop", name="first")["reason"] == "exit"


def test_good_vms_run_beside_wrong_ones(wrong_lines):
    assert wrong_lines.event("vm stop", name="last")["reason"] == "exit"
    assert any("still alive" in line for line in wrong_lines.output("last"))
    wrong_lines.check_fail_end()


def test_broken_images_are_refused(boot, files):
    text = GOOD + "".join(f"{path} vm={name} mem=8M {keys}\n" for name, (path, keys, _) in files.items())
    run = boot(text + f"{HELLO} vm=last mem=8M\n", check=False)
    for name, (_, _, words) in files.items():
        assert re.search(words, refusal(run, name)), f"{name}: {words}\n{run}"
    for name in ("first", "last"):
        assert run.event("vm stop", name=name)["reason"] == "exit"
    run.check_fail_end()


def test_memory_that_does_not_suffice(boot):
    """The second VM does not fit beside the first; the third does."""
    run = boot(f"{HELLO} vm=a mem=64M\n{HELLO} vm=b mem=100M\n{HELLO} vm=c mem=8M\n", memory=128)
    assert re.search(r"mem|memory", refusal(run, "b"))
    assert run.reasons() == {"a": "exit", "c": "exit"}
    run.check_fail_end()


def test_no_module_at_all(boot):
    run = boot("# nothing\n", check=False)
    assert any("module" in line for line in run.host_lines), str(run)
    run.check_fail_end()


@pytest.mark.parametrize(
    "options, words",
    [
        ("log=loud", r"log=loud"),
        ("colour=red", r"colour"),
        ("vmx.disable=warp", r"warp"),
    ],
)
def test_wrong_option_is_named(boot, options, words):
    """Whether or not the VMs still run, the option is named and the run ends as a failure."""
    run = boot(GOOD, options, check=False)
    assert any(re.search(words, line) for line in run.host_lines), str(run)
    run.check_fail_end()
