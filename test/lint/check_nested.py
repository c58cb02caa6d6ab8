#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a guest hypervisor is offered stands in vmx/nested/offer.h and in docs/nested.md: compares the two.

Each row O(group, control, need, "why") of the code must be a row | `control` | name | need | why | of the page, with
the name that vmx/controls.c gives it, in the same order, and the page has no other. Prints each difference; the exit
status is 1 if there is any.

usage: check_nested.py [tree]
"""
import os
import re
import sys

OFFER, CONTROLS, PAGE = "vmx/nested/offer.h", "vmx/controls.c", "docs/nested.md"


def differences(offer, controls, page):
    names = dict(re.findall(r'\{VMX_\w+,\s*VMX_\w+,\s*(\w+),\s*"([^"]*)",', controls))
    rows = re.findall(r'^    O\((VMX_\w+), (\w+), (\w+),\s+"([^"]*)"\)', offer, re.MULTILINE)
    if not rows:
        yield f"{OFFER}: no table found"
    if len(rows) != len(re.findall(r"^    O\(", offer, re.MULTILINE)):
        yield f"{OFFER}: a row cannot be read"
    for group, control, _, _ in rows:
        if not control.startswith(group[len("VMX_"):] + "_"):
            yield f"{OFFER}: {control} is not of {group}"
    code = [(control, names.get(control, "a name in vmx/controls.c"), need, why) for _, control, need, why in rows]
    told = re.findall(r"^\| `([A-Z0-9]+_\w+)` \| ([^|]+) \| (\w+) \| ([^|]+) \|$", page, re.MULTILINE)
    for row in code:
        if row not in told:
            yield f"{PAGE}: no row | `{row[0]}` | {row[1]} | {row[2]} | {row[3]} |"
    for row in told:
        if row not in code:
            yield f"{PAGE}: {row[0]} is not so in {OFFER}"
    if sorted(code) == sorted(told) and code != told:
        yield f"{PAGE}: the rows of {OFFER} stand in another order"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    texts = []
    for path in (OFFER, CONTROLS, PAGE):
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            texts.append(file.read())
    found = list(differences(*texts))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
