#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's object files stand in one order, but for one small circle.

An object depends on another if it uses a symbol that the other one defines. Objects that depend on each other, directly
or through others, form a circle: none of them can be understood, tested or replaced alone. What kernel/virt.h,
kernel/virt_debug.h, kernel/virt_look.h and kernel/vm/life.h declare is an interface, whose implementation may change: a
call through it is no dependency.
Prints the circles, the largest first; the exit status is 1 if that has more than MAX_FILES objects.
-v: prints who depends on whom, too.
"""
import glob
import os
import re
import subprocess
import sys

MAX_FILES = 5
INTERFACES = ("virt_", "life_")


def symbols(path):
    """(defined, used) names of an object file."""
    defined, used = set(), set()
    output = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        kind, name = line.split()[-2:]
        (used if kind == "U" else defined if kind.isupper() else set()).add(name)
    return defined, used


def graph(objects):
    """Object -> the objects that it depends on."""
    owner, uses = {}, {}
    for path in objects:
        defined, uses[path] = symbols(path)
        owner.update((name, path) for name in defined)
    return {path: {owner[name] for name in names if name in owner and not name.startswith(INTERFACES)} - {path}
            for path, names in uses.items()}


def circles(edges):
    """The strongly connected components with more than one member, the largest first (Tarjan's algorithm)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            found.append(sorted(component))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return sorted((component for component in found if len(component) > 1), key=len, reverse=True)


def name(path):
    return re.sub(r"^build/|\.o$", "", path)


def main():
    objects = sorted(path for folder in ("boot", "arch", "kernel", "vmx", "drivers")
                     for path in glob.glob(f"build/{folder}/**/*.o", recursive=True) if os.path.exists(name(path)))
    if not objects:
        print("no objects below build/: run make")
        return 1
    sys.setrecursionlimit(10000)
    edges = graph(objects)
    found = circles(edges)
    if not found:
        print("no circle")
        return 0
    for component in found:
        print(f"{len(component)} objects: " + " ".join(name(path) for path in component))
        if "-v" in sys.argv:
            for path in component:
                inside = sorted(name(target) for target in edges[path] & set(component))
                print(f"    {name(path)} -> " + " ".join(inside))
    return 1 if len(found[0]) > MAX_FILES else 0


if __name__ == "__main__":
    sys.exit(main())
