#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lines have a width: pages 100 columns, code and makefiles 120. Prints each line that is wider.

Free is what cannot be broken. In pages that is rows of tables, code blocks, headings, and lines that are wide only by
the target of a link. In code it is lines with a URL, and tables of data in C, which clang-format aligns: a line that
begins with "{" or "[" and ends with "," or "}".

usage: check_width.py [tree]
"""
import os
import re
import subprocess
import sys

PAGE_COLUMNS, CODE_COLUMNS = 100, 120
CODE = (".c", ".h", ".asm", ".inc", ".ld", ".asl", ".py", ".mk", ".gdb", ".vms", ".js", ".css", ".html", ".yml")
TAB_COLUMNS = 8


def page_lines(lines):
    fenced = False
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not re.match(r"\||#|    ", line) and "http" not in line:
            yield number, re.sub(r"\]\([^)]*\)", "]", line), PAGE_COLUMNS


def code_lines(lines):
    for number, line in enumerate(lines, 1):
        if "://" not in line and not re.match(r"\s*[{\[].*[,}](?: /\*.*\*/)?$", line):
            yield number, line.expandtabs(TAB_COLUMNS), CODE_COLUMNS


def kind(path, lines):
    if path.endswith(".md"):
        return page_lines
    script = lines and lines[0].startswith("#!") and not os.path.splitext(path)[1]
    return code_lines if path.endswith(CODE) or os.path.basename(path) == "Makefile" or script else None


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    command = ["git", "-C", tree, "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    wrong = []
    for path in sorted(listed.stdout.splitlines()):
        try:
            with open(os.path.join(tree, path), encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            continue
        rule = kind(path, lines)
        measured = rule(lines) if rule else ()
        wrong += [f"{path}:{number}: {len(line)} columns, at most {most}"
                  for number, line, most in measured if len(line) > most]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
