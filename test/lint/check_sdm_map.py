#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/sdm-map.md names a function and a test for each section of the SDM's VMX chapters: checks that all of them
exist, that no section is missing between others, that each VMX instruction has a row of its own, and that each section
which the sources cite has the map's title.

A citation is `SDM 3C 26.4 "Loading MSRs"` or `3D A.10 "VPID and EPT Capabilities"` in a comment of the sources, of
tests and guests, or in a page; with or without title, several in a row. Prints each difference; the exit status is 1 if
there is any.

usage: check_sdm_map.py [tree]
"""
import os
import re
import sys

PAGE = "docs/sdm-map.md"
FOLDERS = ("arch", "boot", "docs", "drivers", "guests", "kernel", "test", "tools", "vmx")
SUFFIXES = (".c", ".h", ".asm", ".inc", ".md", ".py")
ROW = re.compile(r"^\| ([0-9A-C][0-9.]*) \| ([^|]+) \| ([^|]+) \| ([^|]*)\|$", re.MULTILINE)
HEADING = re.compile(r"^## (\d\d|Appendix [ABC]) (.+)$", re.MULTILINE)
# | **24** | title | its number in the editions around 2023 | its number in later ones |
EDITION = re.compile(r"^\| \*\*(\d\d)\*\* \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# | VMCLEAR | title | for a guest hypervisor | Rootlet's own | shown by |
INSTRUCTION = re.compile(r"^\| ([A-Z/]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# The parts of section 30.3, in its order, but that VMRESUME's own part only says "see VMLAUNCH/VMRESUME".
INSTRUCTIONS = ["INVEPT", "INVVPID", "VMCALL", "VMCLEAR", "VMFUNC", "VMLAUNCH/VMRESUME", "VMPTRLD", "VMPTRST", "VMREAD",
                "VMWRITE", "VMXOFF", "VMXON"]
FIRST_CHAPTER, LAST_CHAPTER = 23, 33
NAME = re.compile(r"`([a-z][\w/]*\.[a-z]+):(\w+)`")
SECTION = r"(?:2[3-9]|3[0-3])(?:\.\d+)*|[ABC]\.\d+(?:\.\d+)*|Appendix [ABC]"
# "SDM 3C 24.6 "Title", 24.7 "Title" and 3D A.3": the volume, then numbers with or without titles.
VOLUME = re.compile(rf"3[CD] (?:chapter )?(?=(?:{SECTION})\b)")
CITED = re.compile(rf'(?:3[CD] )?({SECTION})(?![\w.]*\d)(?: "([^"]*)")?')
BETWEEN = re.compile(r"(?:,? and |,? to |, )(?=\S)")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def sections(page):
    """Number -> title, and the rows' places."""
    titles = {number: title for number, title in HEADING.findall(page)}
    rows = ROW.findall(page)
    for number, title, _, _ in rows:
        titles[number] = title
    return titles, rows


def is_defined(text, path, name):
    if path.endswith(".asm"):
        return re.search(rf"^{name}:", text, re.MULTILINE)
    if path.endswith(".py"):
        return re.search(rf"^def {name}\(", text, re.MULTILINE)
    definition = (rf"^(?:[A-Za-z_][^;=(\n]*[ *])?{name}\([^;]*?\)[^;]*?\n\{{"
                  rf"|^[^\n(]*\b{name}(?:\[[^\n]*)?\]? *(?:EXPLAIN )?= |^struct {name} \{{|^#define {name}\b")
    return re.search(definition, text, re.MULTILINE)


def check_names(tree, page):
    texts = {}
    for path, name in sorted(set(NAME.findall(page))):
        full = os.path.join(tree, path)
        if not os.path.isfile(full):
            yield f"{PAGE}: no such file: {path}"
            continue
        text = texts.setdefault(path, read(full))
        if not is_defined(text, path, name):
            yield f"{PAGE}: {path} defines no {name}"


def check_rows(rows):
    previous = ""
    for number, _, where, shown in rows:
        has_test = NAME.search(shown) or re.match(r"no test: \S", shown)
        if not (NAME.search(where) and has_test) and not re.match(r"not used\b.*: \S", where):
            yield f"{PAGE}: {number} names no function and test, and does not say why it is not used"
        for path, _ in NAME.findall(shown):
            if not path.startswith("test/"):
                yield f"{PAGE}: {number}: {path} is no test"
        if not follows(previous, number):
            yield f"{PAGE}: {number} does not follow {previous}"
        previous = number


def check_instructions(page):
    """Each VMX instruction: who does it for a guest hypervisor, where Rootlet has it itself, and a test on the host."""
    rows = INSTRUCTION.findall(page)
    names = [row[0] for row in rows]
    if names != INSTRUCTIONS:
        yield f"{PAGE}: the rows of 30.3 are {' '.join(names)}, and should be {' '.join(INSTRUCTIONS)}"
    for name, _, guest, own, shown in rows:
        if not NAME.search(guest) or not (NAME.search(own) or re.match(r"not used: \S", own)):
            yield f"{PAGE}: {name} names no function, and does not say why it is not used"
        tests = [path for path, _ in NAME.findall(shown)]
        if not [path for path in tests if path.startswith("test/unit/vmx/nested/")]:
            yield f"{PAGE}: {name} names no test in test/unit/vmx/nested/"
        for path in tests:
            if not path.startswith("test/"):
                yield f"{PAGE}: {name}: {path} is no test"


def follows(previous, number):
    """Whether `number` is the next section after `previous`: the next one, its first part, or the next of a section
    around it."""
    before, after = previous.split("."), number.split(".")
    if not previous or before[0] != after[0]:
        return after[1:] == ["1"]
    if after == before + ["1"]:
        return True
    level = len(after) - 1
    return level < len(before) and after[:level] == before[:level] and int(after[level]) == int(before[level]) + 1


def flat(text):
    """Comments that go over several lines as one line."""
    return re.sub(r"\s*\n[ \t]*(?:\*(?!/)|//|;|#)?[ \t]*", " ", text)


def citations(text):
    """(number, title or None) of each citation."""
    for volume in VOLUME.finditer(text):
        at = volume.end()
        while True:
            found = CITED.match(text, at)
            if not found:
                break
            yield found.groups()
            between = BETWEEN.match(text, found.end())
            if not between:
                break
            at = between.end()


def check_citations(tree, titles):
    for folder in FOLDERS:
        for root, _, names in os.walk(os.path.join(tree, folder)):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(root, name), tree)
                if not name.endswith(SUFFIXES) or path.startswith("test/lint/"):
                    continue
                for number, title in citations(flat(read(os.path.join(tree, path)))):
                    if number not in titles:
                        yield f"{path}: SDM {number} is not in {PAGE}"
                    elif title is not None and title != titles[number]:
                        yield f'{path}: SDM {number} "{title}": {PAGE} has "{titles[number]}"'


def check_rule_sections(tree, titles):
    """The VM-entry checker's own list of sections."""
    for number, title in re.findall(r'"(26[.\d]*) ([^"]+)"', read(os.path.join(tree, "vmx/check/rules.h"))):
        if titles.get(number) != title:
            yield f'vmx/check/rules.h: SDM {number} "{title}": {PAGE} has "{titles.get(number)}"'


def check_editions(page, titles):
    """The table of other editions has each chapter under its title, and the chapters stay in their order."""
    rows = EDITION.findall(page)
    for place, chapter in enumerate(range(FIRST_CHAPTER, LAST_CHAPTER + 1)):
        row = rows[place] if place < len(rows) else ("", "", "", "")
        if row[:2] != (str(chapter), titles.get(str(chapter), "")):
            yield (f"{PAGE}: the table of editions should have chapter {chapter} here, "
                   f"\"{titles.get(str(chapter), '')}\"")
        for shift, number in enumerate(row[2:], 1):
            if number.isdigit() and int(number) != chapter + shift:
                yield f"{PAGE}: the table of editions: {number} is not {shift} behind {chapter}"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    page = read(os.path.join(tree, PAGE))
    titles, rows = sections(page)
    found = [*check_names(tree, page), *check_rows(rows), *check_instructions(page), *check_citations(tree, titles),
             *check_rule_sections(tree, titles)]
    found += check_editions(page, titles)
    chapters = [str(number) for number in range(FIRST_CHAPTER, LAST_CHAPTER + 1)]
    for chapter in chapters + ["Appendix A", "Appendix B", "Appendix C"]:
        if chapter not in titles:
            found.append(f"{PAGE}: no chapter {chapter}")
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
