# SPDX-License-Identifier: BSD-2-Clause
"""Which Bochs runs a machine: the system's own, that of another Debian release (tools/fetch-engine), or any program."""
import os
import re
import shutil
import subprocess

TOOLS = os.path.dirname(os.path.abspath(__file__))
NAMES = ("bochs2", "bochs3")
# Reaches every tool and test that boots something by way of run-bochs.
VARIABLE = "ROOTLET_ENGINE"


class EngineError(Exception):
    """Nothing of that name can be run; the words say why and what would help."""


class NotFetched(EngineError):
    """fetch-engine has said why."""


def chosen():
    """What the environment asks for; None: the system's own Bochs."""
    return os.environ.get(VARIABLE) or None


def program(engine):
    """The path of the program for bochs2, bochs3 (fetched if it is not there), another program, or None."""
    if engine in NAMES:
        command = [os.path.join(TOOLS, "fetch-engine"), "--path", engine]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            raise NotFetched(f"engine {engine} is not there and could not be fetched")
        return result.stdout.strip()
    found = shutil.which(engine or "bochs")
    if found is None and engine is None:
        raise EngineError("bochs is not installed: run tools/setup run")
    if found is None:
        raise EngineError(f"engine {engine}: no such program; there are {', '.join(NAMES)} and paths of programs")
    return os.path.abspath(found)


def ask(engine, *topic):
    """What the engine's --help says, of a topic or in general; its version is always there."""
    command = [program(engine), "--help", *topic]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                            check=False)
    return result.stdout + result.stderr


def models(engine):
    """The CPU models that the engine has."""
    listed = re.search(r"Supported CPU models:\n\n((?:\w+\n)+)", ask(engine, "cpu"))
    if not listed:
        raise EngineError(f"engine {engine or 'bochs'} names no CPU models")
    return tuple(listed.group(1).split())


def name(engine):
    """bochs2 or bochs3 after its version, whatever way it was asked for."""
    version = re.search(r"Bochs x86 Emulator (\d+)\.", ask(engine))
    if not version:
        raise EngineError(f"engine {engine or 'bochs'} does not say its version")
    return "bochs" + version.group(1)


def debugger_flags(engine):
    """What starts the debugger: Bochs 2.7 always does, 3.0 runs without (and faster) unless it is told to."""
    return ["-debugger"] if re.search(r"^ *-debugger\b", ask(engine), re.MULTILINE) else []
