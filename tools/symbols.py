# SPDX-License-Identifier: BSD-2-Clause
"""From the addresses of a backtrace to functions, files and lines, by means of an ELF file's debug information."""
import os
import re
import subprocess

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KERNEL = os.path.join(TREE, "build", "rootlet.elf")
# "rootlet:   #3 0xffffffff80101234 sched_run+0x12": kernel/panic.c.
HOST_FRAME = re.compile(r"^rootlet: +#(\d+) 0x([0-9a-f]{16}) (?:([\w.$]+)\+0x([0-9a-f]+)|\?)\s*$")
# "rootlet: vm frame name=hello vcpu=0 depth=1 address=0x101234 function=main+0x12": vmx/report/report.c.
GUEST_FRAME = re.compile(r"^rootlet: vm frame name=(\S+) vcpu=(\d+) depth=(\d+) address=0x([0-9a-f]+)"
                         r"(?: function=(.+)\+0x([0-9a-f]+))?\s*$")


class Frame:
    """One line of a backtrace. where: what it is a backtrace of; name and offset are what the hypervisor printed, or
    None."""

    def __init__(self, where, depth, address, name, offset):
        self.where, self.depth, self.address, self.name, self.offset = where, depth, address, name, offset

    @property
    def lookup(self):
        """A return address may lie just behind a function that ends in a call: the call itself is looked up."""
        return self.address - (1 if self.depth else 0)


def frames(lines):
    """The backtraces' frames in the order of the lines; where is None for the hypervisor, (VM, vCPU) for a guest."""
    for line in lines:
        found = HOST_FRAME.match(line)
        if found:
            depth, address, name, offset = found.groups()
            yield Frame(None, int(depth), int(address, 16), name, int(offset, 16) if name else None)
            continue
        found = GUEST_FRAME.match(line)
        if found:
            vm, vcpu, depth, address, name, offset = found.groups()
            yield Frame((vm, int(vcpu)), int(depth), int(address, 16), name, int(offset, 16) if name else None)


def run(command, text=""):
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


class Image:
    """An ELF file's symbols. Raises OSError or CalledProcessError if it is none."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb"):
            pass
        self.symbols = {}
        for line in run(["nm", path]).splitlines():
            words = line.split()
            if len(words) == 3:
                name = words[2].split(".")[0] if not words[2].startswith(".") else words[2]
                self.symbols.setdefault(name, set()).add(int(words[0], 16))

    def agrees(self, frame):
        """False if the function that was printed is not where this file has it: then the run was another file's."""
        return not frame.name or frame.address - frame.offset in self.symbols.get(frame.name, ())

    def lines(self, addresses):
        """For each address the (function, file, line) it belongs to, innermost first; what was inlined comes before its
        caller."""
        text = run(["addr2line", "-a", "-i", "-f", "-e", self.path],
                   "".join(f"{address:#x}\n" for address in addresses))
        result = []
        for line in text.splitlines():
            if re.fullmatch(r"0x[0-9a-f]+", line):
                result.append([])
            else:
                result[-1].append(line)
        return [list(zip(block[::2], (shorten(place) for place in block[1::2]))) for block in result]


def shorten(place):
    """A path inside the tree from the tree's root; without addr2line's remarks."""
    place = re.sub(r" \(discriminator \d+\)$", "", place)
    place = place.split("//")[-1]  # NASM names the folder twice
    place = place[len(TREE) + 1 :] if place.startswith(TREE + "/") else place
    return place.removeprefix("./")


def resolve(found, image):
    """Lines of text for frames that all belong to the image."""
    for frame, places in zip(found, image.lines([frame.lookup for frame in found])):
        printed = f"{frame.name}+{frame.offset:#x}" if frame.name else "?"
        yield f"#{frame.depth} {frame.address:#x} {printed}"
        for number, (function, place) in enumerate(places):
            if not place.startswith("??"):
                yield f"      {function} at {place}" + (" (inlined)" if number < len(places) - 1 else "")


def resolve_log(lines, kernel=KERNEL, guests=None):
    """
    Yields what is to be printed about the backtraces in the serial console's lines, (text, is it a complaint). guests:
    VM name -> path of its ELF file.
    """
    guests = guests or {}
    by_place = {}
    for frame in frames(lines):
        if frame.depth == 0:
            by_place[frame.where] = []  # the last backtrace of a place is the one that counts
        by_place.setdefault(frame.where, []).append(frame)
    for where, found in by_place.items():
        path = kernel if where is None else guests.get(where[0])
        if path is None:
            continue
        title = "backtrace of the hypervisor" if where is None else f"backtrace of vm {where[0]} vcpu {where[1]}"
        try:
            image = Image(path)
        except OSError as error:
            yield f"{title}: {path}: {error.strerror}; name the file that ran", True
            continue
        except subprocess.CalledProcessError as error:
            yield f"{title}: {path}: {error.stderr.strip()}", True
            continue
        wrong = next((frame for frame in found if not image.agrees(frame)), None)
        if wrong:
            yield (f"{title}: {path} is not the file that ran: "
                   f"{wrong.name} is not at {wrong.address - wrong.offset:#x} in it; "
                   "name the right one"), True
            continue
        yield f"{title} ({shorten(os.path.abspath(path))}):", False
        for line in resolve(found, image):
            yield "  " + line, False
