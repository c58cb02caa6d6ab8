# SPDX-License-Identifier: BSD-2-Clause
"""What run-bochs and run-qemu share: arguments, temporary ISOs, the live serial console, time limit and verdict."""
import contextlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time

import symbols

TOOLS = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(TOOLS)
STATUS_FAIL, STATUS_USAGE, STATUS_TIME_LIMIT, STATUS_CUT_SHORT = 1, 2, 124, 130
BOOT = "rootlet: boot version="
END = "rootlet: end status="
FAILED = "rootlet: failed "
IN_WORDS = {"status": "status", "function": "in", "caller": "called from"}
PAIR = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')
# A machine that said its last word and does not power off has failed; no need to wait for the time limit.
POWER_OFF_GRACE_SECONDS = 30
POLL_SECONDS = 0.02
QUIT_KEY = b"\x1c"  # Ctrl-\: Ctrl-] is the monitor's


class Serial:
    """Follows the file that the emulator writes the serial port to (byte by byte, unbuffered)."""

    grace_seconds = POWER_OFF_GRACE_SECONDS

    def __init__(self, path, echo):
        self.path, self.echo, self.bytes = path, echo, bytearray()

    def poll(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(len(self.bytes))
                new = file.read()
        except FileNotFoundError:
            return
        self.bytes += new
        if new and self.echo:
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()

    def wait(self, seconds):
        time.sleep(seconds)

    def lines(self):
        return [line.strip("\r") for line in self.bytes.decode("utf-8", "replace").split("\n")]


class CutShort(Exception):
    """The user typed the key that ends the run."""


class Terminal(Serial):
    """Connects the emulator's serial port, a pseudo-terminal, with this terminal (or whatever stdin and stdout are)."""

    grace_seconds = 300  # the monitor may have been told to reboot: firmware and GRUB say nothing for a while

    def __init__(self, path):
        super().__init__(path, True)
        self.master, self.slave = pty.openpty()
        self.device = os.ttyname(self.slave)
        self.pending = bytearray()
        self.keys = self.input = sys.stdin.fileno()  # input is None after its end
        self.kept = termios.tcgetattr(self.keys) if os.isatty(self.keys) else None
        os.set_blocking(self.master, False)

    def __enter__(self):
        if self.kept:  # every key goes to the guest, Ctrl-C too
            raw = termios.tcgetattr(self.keys)
            raw[0] &= ~(termios.ICRNL | termios.INLCR | termios.IXON | termios.IXOFF)
            raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
            termios.tcsetattr(self.keys, termios.TCSADRAIN, raw)
        return self

    def __exit__(self, *_):
        if self.kept:
            termios.tcsetattr(self.keys, termios.TCSADRAIN, self.kept)
        with open(self.path, "wb") as file:
            file.write(self.bytes)

    def poll(self):
        while select.select([self.master], [], [], 0)[0]:
            new = os.read(self.master, 65536)
            self.bytes += new
            sys.stdout.buffer.write(new)
        sys.stdout.buffer.flush()
        if self.pending:
            with contextlib.suppress(BlockingIOError):
                del self.pending[: os.write(self.master, self.pending)]

    def wait(self, seconds):
        sources = [self.master] + ([self.input] if self.input is not None and not self.pending else [])
        if self.input not in select.select(sources, [], [], seconds)[0]:
            return
        typed = os.read(self.input, 1024)
        if not typed:
            self.input = None
        if self.kept and QUIT_KEY in typed:
            raise CutShort
        self.pending += typed


def add_arguments(parser, time_limit):
    parser.add_argument("image", metavar="ISO|VM-LINES", help="an ISO, or a text file of VM lines")
    parser.add_argument("--cpus", type=int, default=1, metavar="N", help="CPUs (default 1)")
    parser.add_argument("--memory", type=int, default=512, metavar="MB", help="RAM in MiB (default 512)")
    parser.add_argument("--time-limit", type=float, default=time_limit, metavar="SECONDS",
                        help="wall time; 0: none (default %(default)s)")
    parser.add_argument("--gdb", type=int, metavar="PORT",
                        help="offer the second serial port to GDB at this TCP port of localhost "
                              "(with the option gdb=VM)")
    parser.add_argument("--com2", metavar="FILE",
                        help="keep there what comes out of the second serial port (with the option trace=com2)")
    parser.add_argument("--serial", metavar="FILE", help="keep the serial console's text there")
    parser.add_argument("--log", metavar="FILE", help="keep the emulator's log there")
    parser.add_argument("--keep", action="store_true", help="keep the run's folder and say where it is")
    parser.add_argument("--quiet", action="store_true", help="do not show the serial console")
    iso = parser.add_argument_group("with VM lines (handed to mkiso)")
    iso.add_argument("--options", default="", metavar="WORDS", help="Rootlet's own command line")
    iso.add_argument("--kernel", metavar="ELF", help="the hypervisor (default build/rootlet.elf)")
    iso.add_argument("--no-check", action="store_true", help="let wrong VM lines through")


def check_port(parser, port):
    """The emulators say little when they cannot have a port; one that was in use stays so for a minute."""
    try:
        with socket.socket() as listener:
            listener.bind(("localhost", port))
    except (OSError, OverflowError) as error:
        parser.error(f"--gdb {port}: {error}; choose another port, from 1024 to 65535")


def parse(parser):
    args = parser.parse_args()
    if args.cpus < 1 or args.memory < 8 or args.time_limit < 0:
        parser.error("--cpus must be at least 1, --memory at least 8, --time-limit at least 0")
    if args.gdb is not None and args.com2:
        parser.error("--gdb and --com2 want the same port; for both a debugger and a trace use the option trace=serial")
    if args.gdb is not None:
        check_port(parser, args.gdb)
    if args.image != "-" and not os.path.isfile(args.image):
        parser.error(f"{args.image}: no such file (make iso builds the demo's ISO)")
    return args


@contextlib.contextmanager
def run_folder(args, log_name):
    """A folder for one run; leaves behind what --serial, --log and --keep ask for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="rootlet-run.")
    try:
        yield folder
    finally:
        for name, target in (("serial.log", args.serial), ("com2.log", args.com2), (log_name, args.log)):
            source = os.path.join(folder, name)
            if target:
                shutil.copyfile(source if os.path.exists(source) else os.devnull, target)
        if args.keep:
            print(f"kept {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def prepare_iso(args, folder):
    """Puts boot.iso into the folder: the ISO that was given, or one made from the VM lines. False: mkiso said why
    not."""
    iso = os.path.join(folder, "boot.iso")
    if args.image != "-":
        with open(args.image, "rb") as file:
            file.seek(32769)
            if file.read(5) == b"CD001":
                os.symlink(os.path.abspath(args.image), iso)
                return True
    command = [os.path.join(TOOLS, "mkiso"), args.image, "-o", iso, f"--options={args.options}"]
    command += ["--kernel", args.kernel] if args.kernel else []
    command += ["--no-check"] if args.no_check else []
    return subprocess.run(command, check=False).returncode == 0


def kill_group(process):
    """Ends the emulator; it stands in a process group of its own, with whatever its start script began."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=3)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break
    process.wait()


def has_ended(text):
    """The last word was the end line: a machine that was told to reboot comes up again."""
    return text.rfind(END.encode()) > text.rfind(BOOT.encode())


def follow(process, serial, limit_seconds):
    """Waits for the end of the run. Returns why it was cut short, or None."""
    start = time.monotonic()
    end_seen = None
    while process.poll() is None:
        serial.poll()
        now = time.monotonic()
        end_seen = (end_seen or now) if has_ended(serial.bytes) else None
        if end_seen is not None and now - end_seen > serial.grace_seconds:
            return "no-power-off"
        if limit_seconds and now - start > limit_seconds:
            return "time-limit"
        serial.wait(POLL_SECONDS)
    return None


def boot(args, command, folder, send=b"", serial=None):
    """Runs the emulator with its output in emulator.out. Returns (why it was cut short or None, Serial)."""
    serial = serial or Serial(os.path.join(folder, "serial.log"), not args.quiet)
    with open(os.path.join(folder, "emulator.out"), "wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            if send:
                process.stdin.write(send)
                process.stdin.flush()
            cut = follow(process, serial, args.time_limit)
        except CutShort:
            cut = "cut-short"
        finally:
            kill_group(process)
            serial.poll()
    if not args.quiet and serial.bytes and not serial.bytes.endswith(b"\n"):
        print(flush=True)
    return cut, serial


def failure_words(line):
    """What a line "rootlet: failed ..." says, in words; what is behind a semicolon is the cure, or a list."""
    pairs = {key: quoted or plain for key, quoted, plain in PAIR.findall(line)}
    if "option" in pairs:
        return f"option refused: {pairs['option'].split('; ')[0]}"
    if "vm" not in pairs:
        return line[len(FAILED) :]
    if "refused" in pairs:
        return f"{pairs['vm']}: refused: {pairs['refused'].split('; ')[0]}"
    words = [f"{pairs['vm']}:", pairs.get("reason", "")]
    words += [f"{word} {pairs[key]}" for key, word in IN_WORDS.items() if key in pairs]
    return " ".join(words)


def judge(cut, serial, crash, powered_off):
    """crash: in words, what the emulator saw go wrong, or None. Returns the exit status, the reason in words, and
    whether the emulator's log may explain it."""
    lines = serial.lines()
    end = next((line for line in reversed(lines) if line.startswith(END)), None)
    if any(line.startswith("rootlet: panic") for line in lines):
        return STATUS_FAIL, "the hypervisor panicked", False
    if crash:
        return STATUS_FAIL, crash, True
    if cut == "time-limit":
        return STATUS_TIME_LIMIT, "time limit reached", True
    if cut == "cut-short":
        return STATUS_CUT_SHORT, "cut short by Ctrl-\\", False
    if cut == "no-power-off":
        return STATUS_FAIL, f"no power-off within {serial.grace_seconds} s after the end line", True
    if end is None:
        return STATUS_FAIL, "no end line on the serial console", True
    if end != END + "ok":
        failures = [failure_words(line) for line in lines if line.startswith(FAILED)]
        return STATUS_FAIL, "; ".join(failures) or end[len("rootlet: ") :], False
    if not powered_off:
        return STATUS_FAIL, "the emulator ended, but not by power-off", True
    return 0, "end status=ok and power-off", False


def report(tool, status, reason, log, serial, kernel):
    """Prints the verdict, after the log's last lines if there are any to show, and a panic's backtrace with lines of
    the source."""
    if log:
        print(f"{tool}: the emulator's last lines:", file=sys.stderr)
        for line in log.splitlines()[-25:]:
            print("    " + line, file=sys.stderr)
    if any(line.startswith("rootlet: panic") for line in serial.lines()):
        for text, _ in symbols.resolve_log(serial.lines(), kernel or symbols.KERNEL):
            print(f"{tool}: {text}", file=sys.stderr)
    print(f"{tool}: {'pass' if status == 0 else 'FAIL'}: {reason}", file=sys.stderr)
    return status
