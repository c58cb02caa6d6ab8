#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/errors.md has a row for each message that says what is wrong: compares it with the code, in both directions.

A message is the text of refuse(), vms_refuse(), log_error(), log_warn(), monitor_fail(), of a refusal in
boot/entry.asm, or a VM's reason to stop with what vm_stop() and stop_at() add to it. Where the code formats a value,
the page has "...". A row is | `message` | cause | cure |.

usage: check_errors.py [tree]
"""
import glob
import os
import re
import sys

PAGE = "docs/errors.md"
FOLDERS = ("arch/x86", "boot", "drivers", "kernel", "vmx")
CALL = re.compile(r"\b(refuse|vms_refuse|log_error|log_warn|vm_stop|stop_at|monitor_fail)\(")
LITERALS = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\s*"((?:[^"\\]|\\.)*)")*')
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
CONVERSION = re.compile(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z)?[diuxXcsp]")
REASON = re.compile(r"\[VM_STOP_\w+\]\s*=\s*\"([a-z-]+)\"")
ROW = re.compile(r"^\| `((?:[^`\\]|\\.)*)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# Texts that only pass another message on.
PASSED_ON = {"...", "... rip=0x..."}


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def without_comments(text):
    return re.sub(r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match.group(0)), text, flags=re.DOTALL)


def arguments(text, start):
    """The text between the parenthesis before `start` and the one that closes it."""
    depth, at = 1, start
    while depth and at < len(text):
        if text[at] == '"':
            at = LITERAL.match(text, at).end()
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[start : at - 1]


def written(literals):
    text = "".join(LITERAL.findall(literals)).replace('\\"', '"').replace("\\\\", "\\")
    return re.sub(r"\.{4,}", "...", CONVERSION.sub("...", text)).replace("%%", "%")


def messages(tree):
    """Message -> a place where the code has it."""
    found = {}
    for folder in FOLDERS:
        for path in sorted(glob.glob(os.path.join(tree, folder, "**", "*.c"), recursive=True)):
            text = without_comments(read(path))
            name = os.path.relpath(path, tree)
            for call in CALL.finditer(text):
                for literals in LITERALS.finditer(arguments(text, call.end())):
                    found.setdefault(written(literals.group(0)), name)
                    # The text of vms_refuse() may be one of two; further strings of the others are values.
                    if call.group(1) != "vms_refuse":
                        break
            for reason in REASON.findall(text):
                found.setdefault(f"reason={reason}", name)
    boot = read(os.path.join(tree, "boot/entry.asm"))
    for text in re.findall(r"^\s*db\s+[\"'](rootlet: error: [^\"']+)[\"']", boot, re.MULTILINE):
        found.setdefault(text.removeprefix("rootlet: error: ").strip(), "boot/entry.asm")
    return {text: place for text, place in found.items() if text not in PASSED_ON}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    code = messages(tree)
    rows = [text.replace("\\|", "|") for text, _, _ in ROW.findall(read(os.path.join(tree, PAGE)))]
    wrong = []
    for text, place in sorted(code.items(), key=lambda item: item[1]):
        if text not in rows:
            row = f"| `{text.replace('|', chr(92) + '|')}` | the cause | the cure |"
            wrong.append(f"{PAGE}: add a row for a message of {place}: {row}")
    wrong += [f"{PAGE}: no code has this message; take the row out: {text}" for text in rows if text not in code]
    wrong += [f"{PAGE}: two rows for: {text}" for text in sorted({text for text in rows if rows.count(text) > 1})]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
