#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/cheatsheet.md has each key of a VM's line, each option and each target of make, and no other.

usage: check_cheatsheet.py [tree]
"""
import os
import re
import sys

PAGE, KEYS, MAKEFILE = "docs/cheatsheet.md", "vm_spec.c", "Makefile"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def keys(text, table):
    body = re.search(rf"\b{table}\[\] = \{{\n(.*?)\n\}};", text, re.DOTALL)
    return set(re.findall(r'\{"([a-z0-9.]+)",', body.group(1))) if body else set()


def section(text, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL).group(1)


def differences(what, code, page):
    for name in sorted(code - page):
        yield f"{PAGE}: add a row for the {what} {name}"
    for name in sorted(page - code):
        yield f"{PAGE}: take out the {what} {name}: it is not in the sources"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    page = read(os.path.join(tree, PAGE))
    places = [os.path.join(tree, "kernel", name) for name in (KEYS, "vm/spec.c")]
    spec = read(next(path for path in places if os.path.exists(path)))
    row = re.compile(r"^\| `([a-z0-9.]+)=` \|", re.MULTILINE)
    makefile = read(os.path.join(tree, MAKEFILE)).replace("\\\n", "")
    front = re.search(r"^FRONT := (.*)$", makefile, re.MULTILINE).group(1)
    wrong = [
        *differences("key", keys(spec, "vm_keys") or {"?"}, set(row.findall(section(page, "A VM's line")))),
        *differences("option", keys(spec, "host_keys") or {"?"}, set(row.findall(section(page, "Rootlet's options")))),
        *differences("target", set(front.split()), set(re.findall(r"`make ([a-z-]+)`", section(page, "make")))),
    ]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
