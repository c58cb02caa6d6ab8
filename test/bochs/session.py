# SPDX-License-Identifier: BSD-2-Clause
"""A machine in Bochs whose console is typed at: run-bochs --interactive, and what its monitor answers."""
import re
import tempfile

import pexpect

import machine

ANSWER_SECONDS = 300  # a busy host
KEY = "\x1d"  # Ctrl-]
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
END = r"rootlet: (ok|error: [^\r\n]*)\r*\n"


def plain(text):
    """The lines as a terminal shows them in the end: what was erased is not there."""
    return [line.rstrip("\r").split("\r")[-1] for line in CONTROL.sub("", text).split("\n")]


def echo(line):
    """A pattern of the line as the monitor echoes it: where a guest printed above it in the meantime, it has been drawn
    again up to there, with a control sequence behind."""
    return "".join(re.escape(character) + f"(?:{CONTROL.pattern})*" for character in line)


class Answer:
    """What a command printed: `error` is "" or what stands behind error:, `lines` are those before."""

    def __init__(self, text, end):
        self.lines = [line[len("rootlet: ") :] for line in plain(text) if line.startswith("rootlet: ")]
        self.error = "" if end == "ok" else end.removeprefix("error: ")

    def pairs(self, words, /, **wanted):
        """The key=value pairs of each line that begins with these words, where the given keys have these values."""
        found = [{key: value.strip('"') for key, value in machine.PAIR.findall(line)} for line in self.lines
                 if line.startswith(words + " ")]
        return [pairs for pairs in found if all(pairs.get(key) == value for key, value in wanted.items())]


class Session:
    """with Session(VM lines, options) as s: the monitor is open at the beginning if the options have monitor=start."""

    def __init__(self, vms, options="", cpus=1, memory=256, limit=1800):
        self.folder = tempfile.TemporaryDirectory(prefix="rootlet-test.")
        path = f"{self.folder.name}/test.vms"
        machine.need(vms)
        with open(path, "w", encoding="utf-8") as file:
            file.write(vms)
        self.serial = f"{self.folder.name}/serial"
        arguments = [path, "--interactive", "--serial", self.serial, "--cpus", str(cpus), "--memory", str(memory),
                     "--time-limit", str(limit), f"--options={options}"]
        self.child = pexpect.spawn("tools/run-bochs", arguments, cwd=machine.TREE, timeout=ANSWER_SECONDS,
                                   encoding="utf-8", codec_errors="replace", maxread=65536)
        self.run = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.run is None:
                self.end()
        finally:
            self.child.close(force=True)
            self.folder.cleanup()

    def expect(self, pattern):
        self.child.expect(pattern)
        return self.child.match

    def send(self, text):
        self.child.send(text)

    def open(self):
        self.send(KEY)
        self.expect("monitor state=open .*rootlet> ")

    def command(self, line):
        """Types it, Enter included; what is printed until its end."""
        self.send(line + "\r")
        self.expect(echo(line) + r"\r+\n")
        end = self.expect(END).group(1)
        return Answer(self.child.before, end)

    def ok(self, line):
        """Likewise, and it must not fail."""
        answer = self.command(line)
        assert not answer.error, f"{line}: {answer.error}"
        return answer

    def end(self):
        """Until the machine has ended by itself; its run."""
        self.expect(pexpect.EOF)
        verdict = self.child.before.strip().splitlines()[-1:]
        self.child.close()
        with open(self.serial, encoding="utf-8", errors="replace") as file:
            serial = "\n".join(plain(file.read()))
        self.run = machine.Run(self.child.exitstatus, "".join(verdict), serial, "")
        return self.run
