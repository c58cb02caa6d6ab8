#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The CPUID and MSR policy stands in the code and in docs/cpuid.md: compares the two.

Each row of `rules` in vmx/exit/cpuid.c must be a row | `WORD` | `CONDITION` | mask | ... of the page, each row of
`rows` in vmx/exit/msr.c a row | `MSR` | `KIND` | value | ..., in the same order, and nothing else may be there. Prints
each difference; the exit status is 1 if there is any.

usage: check_cpuid.py [tree]
"""
import os
import re
import sys

CPUID, MSR, FIELDS, PAGE = "vmx/exit/cpuid.c", "vmx/exit/msr.c", "vmx/fields.h", "docs/cpuid.md"
NUMBER = r"(0[xX][0-9a-fA-F]+|\d+)"


def table(text, name):
    """The body of the array `name`."""
    match = re.search(rf"\b{name}\[\] = \{{\n(.*?)\n\}};", text, re.DOTALL)
    return match.group(1) if match else ""


def code_rows(text, name, pattern):
    body = table(text, name)
    rows = [(first, second, int(value, 0)) for first, second, value in re.findall(pattern, body)]
    if len(rows) != len(re.findall(r"^\s*\{", body, re.MULTILINE)):
        rows.append(("unreadable row", name, 0))
    return rows


def page_rows(text, first, second):
    pattern = rf"^\| `({first})` \| `({second})` \| {NUMBER} \|"
    return [(a, b, int(value, 0)) for a, b, value in re.findall(pattern, text, re.MULTILINE)]


def compare(path, code, page):
    if not code:
        yield f"{path}: no table found"
    for row in code:
        if row not in page:
            yield f"{PAGE}: no row for {row[0]} {row[1]} {row[2]:#x} of {path}"
    for row in page:
        if row not in code:
            yield f"{PAGE}: {row[0]} {row[1]} {row[2]:#x} is not in {path}"
    if code and sorted(code) == sorted(page) and code != page:
        yield f"{PAGE}: the rows of {path} stand in another order"


def differences(cpuid, msr, page):
    words = code_rows(cpuid, "rules", rf"\{{(W\w+),\s*(\w+),\s*{NUMBER}\s*\}}")
    yield from compare(CPUID, words, page_rows(page, r"W\w+", r"\w+"))
    rows = code_rows(msr, "rows", rf"\{{(MSR_\w+),\s*MSR_(\w+),\s*{NUMBER}\s*\}}")
    yield from compare(MSR, rows, page_rows(page, r"MSR_\w+", r"\w+"))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    texts = []
    for path in (CPUID, MSR, PAGE):
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            texts.append(file.read())
    with open(os.path.join(tree, FIELDS), encoding="utf-8") as file:
        encodings = dict(re.findall(r"F\((\w+), (0x[0-9a-f]+),", file.read()))
    texts[1] = re.sub(r"\bENCODING_(\w+)", lambda match: encodings.get(match.group(1), match.group(0)), texts[1])
    found = list(differences(*texts))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
