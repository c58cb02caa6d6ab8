#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The guest ABI stands in three places: guests/include/rootlet_abi.h, rootlet_abi.inc and docs/guest-abi.md. Compares
them.

Every ROOTLET_ name of the header must be in the NASM include with the same value, and in a table row of the page,
| `NAME` | value | ..., with the same value; neither may have a name that the header lacks. The memory map must be the
one of kernel/vm/memory.h. Prints each difference; the exit status is 1 if there is any.

usage: check_abi.py [tree]
"""
import os
import re
import sys

HEADER = "guests/include/rootlet_abi.h"
INCLUDE = "guests/include/rootlet_abi.inc"
PAGE = "docs/guest-abi.md"
KERNEL = "kernel/vm/memory.h"
GUARDS = {"ROOTLET_ABI_H", "ROOTLET_ABI_INC"}

# Names of the ABI and how kernel/vm/memory.h says the same.
KERNEL_SAYS = {
    "ROOTLET_MEM_LOW_END": "GUEST_LOW_RAM_BYTES",
    "ROOTLET_MEM_TEXT": "GUEST_TEXT_PAGE",
    "ROOTLET_MEM_TEXT_END": "GUEST_TEXT_PAGE + GUEST_TEXT_BYTES",
    "ROOTLET_MEM_ROM": "GUEST_FIRMWARE_BASE",
    "ROOTLET_MEM_HIGH": "GUEST_FIRMWARE_BASE + GUEST_FIRMWARE_BYTES",
    "ROOTLET_MEM_HIGH_END": "GUEST_LOW_RAM_TOP_MAX",
}
UNITS = {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def number(text):
    return int(re.sub(r"[uUlL]+$", "", text), 0)


def definitions(text, directive):
    """Name -> value of the lines `directive NAME value`; a name that stands twice is an error of its own."""
    found, twice = {}, []
    pattern = rf"^\s*{directive}\s+(ROOTLET_\w+)\s+(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b"
    for name, value in re.findall(pattern, text, re.MULTILINE):
        if name in found:
            twice.append(name)
        found[name] = number(value)
    return found, twice


def page_rows(text):
    """Name -> values of the table rows of the page."""
    found = {}
    for name, value in re.findall(r"^\|\s*`(ROOTLET_\w+)`\s*\|\s*([^|]*?)\s*\|", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def compare_include(header, include):
    for name, value in header.items():
        if name not in include:
            yield f"{INCLUDE}: {name} is missing"
        elif include[name] != value:
            yield f"{INCLUDE}: {name} is {include[name]:#x}, in the header {value:#x}"
    for name in include.keys() - header.keys():
        yield f"{INCLUDE}: {name} is not in the header"


def compare_page(header, text):
    rows = page_rows(text)
    for name, value in header.items():
        if name not in rows:
            yield f"{PAGE}: no table row for {name}"
            continue
        for written in rows[name]:
            match = re.fullmatch(r"`?(0[xX][0-9a-fA-F]+|\d+)`?", written)
            if not match or number(match.group(1)) != value:
                yield f"{PAGE}: {name} is {written or 'empty'}, in the header {value:#x}"
    for name in sorted(set(re.findall(r"\bROOTLET_\w+\b", text)) - header.keys()):
        yield f"{PAGE}: {name} is not in the header"


def compare_kernel(header, text):
    values = {}
    for name, value in re.findall(r"^#define (GUEST_\w+)\s+(\S+)", text, re.MULTILINE):
        unit = re.fullmatch(r"(KIB|MIB|GIB)\((\d+)\)", value)
        if unit:
            values[name] = int(unit.group(2)) * UNITS[unit.group(1)]
        elif re.fullmatch(r"0x[0-9a-fA-F]+(ull)?", value):
            values[name] = number(value)
    for name, words in KERNEL_SAYS.items():
        terms = words.split(" + ")
        if any(term not in values for term in terms):
            yield f"{KERNEL}: no plain value for {words}"
        elif sum(values[term] for term in terms) != header.get(name):
            yield f"{HEADER}: {name} is not {words} of {KERNEL}"


def differences(header_text, include_text, page_text, kernel_text):
    header, twice = definitions(header_text, "#define")
    include, twice_in_include = definitions(include_text, "%define")
    if not header:
        yield f"{HEADER}: no definition found"
    for name in twice:
        yield f"{HEADER}: {name} is defined twice"
    for name in twice_in_include:
        yield f"{INCLUDE}: {name} is defined twice"
    # What is not a plain number cannot be compared.
    for name in set(re.findall(r"^\s*#define\s+(ROOTLET_\w+)", header_text, re.MULTILINE)) - header.keys() - GUARDS:
        yield f"{HEADER}: {name} is not a plain number"
    yield from compare_include(header, include)
    yield from compare_page(header, page_text)
    yield from compare_kernel(header, kernel_text)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    texts = []
    for path in (HEADER, INCLUDE, PAGE, KERNEL):
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            texts.append(file.read())
    found = list(differences(*texts))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
