#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each source file names its licence in its first line, or in the second, below "#!" or a
document type. Prints each file that does not.

    /* SPDX-License-Identifier: BSD-2-Clause */      .c .h .ld .asl .js .css
    ; SPDX-License-Identifier: BSD-2-Clause          .asm .inc
    # SPDX-License-Identifier: BSD-2-Clause          scripts, makefiles, .yml
    <!-- SPDX-License-Identifier: BSD-2-Clause -->   .html

usage: check_spdx.py [tree]
"""
import os
import subprocess
import sys

LICENSE = "SPDX-License-Identifier: BSD-2-Clause"
FORMS = {
    ".c": f"/* {LICENSE} */",
    ".h": f"/* {LICENSE} */",
    ".ld": f"/* {LICENSE} */",
    ".asl": f"/* {LICENSE} */",
    ".asm": f"; {LICENSE}",
    ".inc": f"; {LICENSE}",
    ".py": f"# {LICENSE}",
    ".mk": f"# {LICENSE}",
    ".yml": f"# {LICENSE}",
    ".js": f"/* {LICENSE} */",
    ".css": f"/* {LICENSE} */",
    ".html": f"<!-- {LICENSE} -->",
}


def wanted(path, first):
    """The line that the file must have, or None if it is no source."""
    name = os.path.basename(path)
    if name == "Makefile" or (first.startswith("#!") and not os.path.splitext(name)[1]):
        return f"# {LICENSE}"
    return FORMS.get(os.path.splitext(name)[1])


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    command = ["git", "-C", tree, "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    missing = 0
    for path in sorted(listed.stdout.splitlines()):
        try:
            with open(os.path.join(tree, path), encoding="utf-8") as file:
                lines = [line.rstrip("\n") for _, line in zip(range(2), file)]
        except (FileNotFoundError, UnicodeDecodeError):
            continue
        line = wanted(path, lines[0]) if lines else None
        at = 1 if lines and lines[0].startswith(("#!", "<!DOCTYPE")) else 0
        if line and lines[at : at + 1] != [line]:
            print(f"{path}:{at + 1}: write this line: {line}")
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
