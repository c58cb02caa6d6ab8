#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Pages and drawings name places in the tree: checks that the files exist and define what is said to be in them.

A place is `path/file.c` or `path/file.c:name` between backticks in a Markdown page. In a drawing it is the text
"path/file.c:name", or "path/file.c:" with the name in the text element behind it. docs/sdm-map.md has its own check.

usage: check_places.py [tree]
"""
import glob
import os
import re
import sys

import check_sdm_map

FOLDERS = "arch|boot|docs|drivers|examples|guests|kernel|site|test|tools|vmx"
PATH = rf"(?:{FOLDERS})/[a-z0-9_./-]*[a-z0-9_]\.(?:asl|asm|c|css|gdb|h|html|inc|js|ld|md|mk|py|svg|vms|yml)"
IN_PAGE = re.compile(rf"`({PATH})(?::(\w+))?`")
IN_DRAWING = re.compile(rf">({PATH}):</text>\n<text[^>]*>(\w+)<|\b({PATH}):(\w+)|>({PATH})<")


def places(path, text):
    if path.endswith(".md"):
        yield from IN_PAGE.findall(text)
        return
    for found in IN_DRAWING.findall(text):
        yield found[0] or found[2] or found[4], found[1] or found[3]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    os.chdir(tree)
    wrong = set()
    for page in sorted(glob.glob("*.md") + glob.glob("docs/*.md") + glob.glob("docs/*.svg")):
        if page == check_sdm_map.PAGE:
            continue
        for path, name in places(page, check_sdm_map.read(page)):
            if not os.path.isfile(path):
                wrong.add(f"{page}: no such file: {path}; write where it is now, or drop the place")
            elif name and not check_sdm_map.is_defined(check_sdm_map.read(path), path, name):
                wrong.add(f"{page}: {path} defines no {name}; write where it is now, or drop the place")
    for line in sorted(wrong):
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
