# SPDX-License-Identifier: BSD-2-Clause
"""The monitor on the console: every command, what is typed wrongly, and guests that run on meanwhile."""
import random
import re

import pytest

import session

SPIN = "build/guests/spinner.elf vm=spin mem=4M limit=600000\n"
TIMER = "build/guests/timer.elf vm=timer mem=4M -- ticks=10000000\n"
HELLO = "build/guests/hello.elf vm=hello mem=8M -- words\n"
ECHO = "build/guests/echo.elf vm=echo mem=4M -- wait=600000\n"
LISTENS = "sixteen characters at a time"  # says that guest when it takes what is typed
pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", params=[2, 1], ids=["2cpus", "1cpu"])
def shared(request):
    """A machine that several tests use; it ends by poweroff."""
    with session.Session(SPIN + TIMER + HELLO, "idle=monitor", cpus=request.param) as s:
        s.expect("vm stop name=hello")
        s.open()
        yield s
        answer = s.command("poweroff -t 100")
        assert not answer.error
        run = s.end()
        assert run.reasons() == {"spin": "killed", "timer": "killed", "hello": "exit"}, str(run)
        run.check_fail_end()


def test_help_names_each_command(shared):
    names = {pairs["name"] for pairs in shared.ok("help -o kv").pairs("command")}
    assert {"help", "list", "info", "stats", "pause", "resume", "kill", "nmi", "console", "log", "screen", "regs",
            "vmcs", "mem", "trace", "caps", "cpus", "loglevel", "poweroff", "reboot", "leave", "stop", "restart",
            "start", "modules", "set"} <= names
    for name in sorted(names):
        assert shared.ok(f"help {name} -o kv").pairs("command")[0]["usage"].split()[0] == name


def test_list(shared):
    vms = {pairs["name"]: pairs for pairs in shared.ok("list -o kv").pairs("vm")}
    assert list(vms) == ["spin", "timer", "hello"]
    assert vms["spin"]["state"] == "running" and vms["spin"]["reason"] == "none"
    assert vms["hello"]["state"] == "stopped" and vms["hello"]["reason"] == "exit"
    assert vms["hello"]["kind"] == "multiboot" and vms["hello"]["mem"] == str(8 << 20)
    assert int(vms["timer"]["exits"]) > 0 and vms["timer"]["cpus"] == "1"


def test_pause_and_resume(shared):
    def run_us():
        return int(shared.ok("list").pairs("vm", name="spin")[0]["run_us"])

    shared.ok("pause spin")
    assert shared.ok("list").pairs("vm", name="spin")[0]["state"] == "paused"
    before = run_us()
    shared.ok("regs spin")
    shared.ok("info timer")
    assert run_us() == before
    assert "is paused; resume it" in shared.command("pause spin").error
    shared.ok("resume spin")
    shared.ok("info timer")
    assert run_us() > before
    assert "pause it first" in shared.command("resume spin").error


def test_looking(shared):
    registers = shared.ok("regs spin").pairs("vm regs")
    assert registers[0]["mode"] == "protected" and 0x100000 <= int(registers[0]["rip"], 16) < 0x110000
    fields = {key: value for pairs in shared.ok("vmcs timer 0").pairs("vm vmcs") for key, value in pairs.items()}
    assert fields["VMCS_LINK_POINTER"] == "0xffffffffffffffff" and int(fields["EPT_POINTER"], 16) & 7 == 6
    memory = shared.ok("mem spin 0x100000 20").pairs("vm mem")
    assert [len(pairs["bytes"]) for pairs in memory] == [32, 8]
    assert memory[0]["bytes"].startswith("02b0ad1b")  # the multiboot header
    info = shared.ok("info timer")
    assert info.pairs("vm vcpu")[0]["vcpu"] == "0" and info.pairs("vm device", device="pic", chip="master")
    assert info.pairs("vm memory", kind="text")[0]["at"] == "0xb8000"
    assert shared.ok("screen spin").pairs("screen")[0]["text"].startswith("spinner count=")
    records = shared.ok("trace timer 5").lines
    assert len(records) == 5 and all(" vm=timer " in line for line in records)
    assert any("VMX" in line for line in shared.ok("caps").lines)
    cpus = shared.ok("cpus").pairs("cpus")
    assert sum(int(pairs["vcpus"]) for pairs in cpus) == 2


def test_log(shared):
    kept = shared.ok("log hello").pairs("log")
    assert kept[0]["dropped"] == "0"
    assert kept[1]["text"].startswith("hello from a 32-bit multiboot guest")
    assert [pairs["text"] for pairs in shared.ok("log hello 1").pairs("log")[1:]] == [kept[-1]["text"]]


def test_stats(shared):
    stats = shared.ok("stats timer").pairs("stats")
    assert int(stats[0]["wakeups"]) > 0 and int(stats[0]["injected"]) > 0
    halts = next(pairs for pairs in stats if pairs.get("exit") == "hlt")
    assert 0 < int(halts["median"]) <= int(halts["p99"])
    shared.send("stats spin -w 1\r")
    shared.expect("stats again")
    shared.expect("stats name=spin state")
    shared.send("q")
    shared.expect(session.END)


@pytest.mark.parametrize("line, words", [
    ("frobnicate", "no such command; help"),
    ("kill", "usage: kill VM"),
    ("kill nobody", "no VM has the name nobody; list"),
    ("kill hello", "hello has ended; restart or start it"),
    ("regs hello", "vm=hello has ended, reason=exit"),
    ("resume spin", "spin is running; pause it first"),
    ("set spin weight 0", "weight=0 is not accepted"),
    ("set spin colour 1", "colour"),
    ("start a/b 1", "no name for a VM"),
    ("start new 99", "no module"),
    ("start spin 1", "spin is running"),
    ("stop spin -t", "how many ms"),
    ("pause hello", "has ended"),
    ("console hello", "has ended"),
    ("regs spin 1", "a number from 0 to 0"),
    ("mem spin 0xa0000", "no memory at 0xa0000"),
    ("mem spin 0x100000 5000", "from 1 to 4096"),
    ("mem spin 0xfffffffffffff000", "address"),
    ("list -o json", "-o takes kv"),
    ("stats -w", "how many seconds"),
    ("loglevel loud", "error, warn, info or debug"),
    ("trace spin 1000", "records 1000"),
    ("help me", "no such command"),
    ("list x", "too many words; usage: list"),
])
def test_a_wrong_command_says_the_remedy_and_changes_nothing(shared, line, words):
    assert words in shared.command(line.strip()).error
    assert [pairs["state"] for pairs in shared.ok("list").pairs("vm")] == ["running", "running", "stopped"]


def test_random_bytes(shared):
    generator = random.Random(1)
    for _ in range(10):
        noise = bytes(generator.choice([generator.randrange(256), 0x1b, 0x5b, 0x7f, 0x15]) for _ in range(100))
        noise = noise.replace(b"\x1d", b"").replace(b"\x1c", b"").replace(b"\r", b"").replace(b"\n", b"")
        shared.send(noise.decode("latin-1"))
    shared.send("x" * 2000)
    shared.send("\x1b\x03")
    shared.send("\x03")
    assert shared.ok("list").pairs("vm")


def test_keys_edit_the_line(shared):
    shared.send("lisx\x7ft ")
    shared.send("\x01\x1b[C\x1b[C\x1b[D\x05\x17list -o kv\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x0b\r")
    shared.expect("vm name=spin")
    shared.expect(session.END)
    shared.send("\x1b[A\x15lis\t\r")
    shared.expect(r"list \x1b\[K\r+\n")
    shared.expect("vm name=spin")
    shared.expect(session.END)
    shared.send("regs sp\t\r")
    shared.expect("vm regs name=spin")
    shared.expect(session.END)
    shared.send("\x1b[A\r")
    shared.expect("vm regs name=spin")
    shared.expect(session.END)


def test_leave_and_key_close_it(shared):
    shared.ok("leave")
    shared.open()
    shared.send(session.KEY)
    shared.expect("monitor state=closed")
    shared.send("list\r")  # to nobody
    shared.open()
    assert not shared.ok("cpus").pairs("vm")


def test_what_guests_print_stands_above_the_line():
    with session.Session(SPIN + "build/guests/gap.elf vm=gap mem=4M -- ms=600000 say=200\n", "monitor=start") as s:
        s.expect("rootlet> ")
        s.send("li")
        s.expect(r"\[gap\] gap goes on[^\n]*\n\rrootlet> li\x1b\[K")
        s.send("st\r")
        s.expect("vm name=spin")
        s.expect(session.END)
        s.ok("kill spin")
        s.send("\x15")
        s.ok("kill gap")
        run = s.end()
        assert run.reasons() == {"spin": "killed", "gap": "killed"}, str(run)


def test_console_of_a_guest():
    """The guest gets what is typed, as it is; meanwhile it is not halted for good; and the key brings the monitor."""
    with session.Session(SPIN + ECHO, "monitor=start") as s:
        s.expect(LISTENS + ".*rootlet> ")
        s.send("console echo\r")
        s.send("abc")
        s.expect("abc")
        s.send(session.KEY)
        s.expect(session.END)
        s.ok("list")
        s.send("console echo\r")
        s.expect("abc")  # the line that it has begun
        s.send("\x04")
        s.expect("vm stop name=echo reason=exit status=0")
        s.expect(session.END)
        assert any("abc" in pairs.get("text", "") for pairs in s.ok("log echo").pairs("log"))
        s.ok("kill spin")
        s.end()


def test_another_key_and_none():
    with session.Session(SPIN, "monitor.key=^t idle=monitor") as s:
        s.expect("vm start")
        s.send(session.KEY)
        s.send("\x14")
        s.expect(r"monitor state=open key=Ctrl-T .*rootlet> ")
        s.ok("kill spin")
        s.ok("list")
        s.ok("poweroff -t 100")
    with session.Session(ECHO, "monitor=off console.input=echo") as s:
        s.expect(LISTENS)
        s.send(session.KEY + "list\r\x04")
        run = s.end()
        run.check_good_end()
        assert "echo ok received=7" in "\n".join(run.lines), str(run)  # all of it
        assert not [line for line in run.host_lines if line.startswith("monitor")]


def test_the_machine_stays_when_the_last_vm_has_ended():
    with session.Session(HELLO, "idle=monitor") as s:
        s.expect("vm stop name=hello")
        s.expect("monitor state=open .*rootlet> ")
        assert s.ok("list").pairs("vm")[0]["state"] == "stopped"
        s.ok("poweroff -t 100")
        s.end().check_good_end()


def test_vmx_off_and_on():
    """A CPU's vCPUs go elsewhere, and nobody comes to it until it is back; at the end one is still off."""
    with session.Session(SPIN + TIMER + HELLO, "idle=monitor", cpus=2) as s:
        s.expect("vm stop name=hello")
        s.open()
        for cpu in ("0", "1"):
            assert s.ok(f"vmx off {cpu}").pairs("cpu", id=cpu, vmx="off")
            cpus = {pairs["id"]: pairs for pairs in s.ok("cpus").pairs("cpus")}
            assert cpus[cpu]["vmx"] == "off" and cpus[cpu]["vcpus"] == "0" and cpus[str(1 - int(cpu))]["vcpus"] == "2"
            assert "already" in s.command(f"vmx off {cpu}").error
            assert "the last one" in s.command(f"vmx off {1 - int(cpu)}").error
            s.ok("regs timer")
            assert s.ok(f"vmx on {cpu}").pairs("cpu", id=cpu, vmx="root")
        assert "is in VMX operation" in s.command("vmx on 0").error
        s.ok("set spin affinity 0")
        assert "vm=spin may run on no other CPU" in s.command("vmx off 0").error
        s.ok("pause spin")
        s.ok("vmx off 1")
        assert "affinity= names no CPU that runs VMs" in s.command("set timer affinity 1").error
        s.ok("kill timer")
        s.ok("poweroff -t 100")
        run = s.end()
        run.check_fail_end()
        assert run.event("frames")["lost"] == "0", str(run)


def test_life():
    with session.Session(SPIN + HELLO, "idle=monitor") as s:
        s.expect("vm stop name=hello")
        s.open()
        assert s.ok("restart hello").pairs("vm start", name="hello", restart="1")
        modules = s.ok("modules").pairs("module")
        assert [(pairs["number"], pairs["name"]) for pairs in modules] == [("1", "spin"), ("2", "hello")]
        s.ok("start other hello mem=4M -- by hand")
        s.ok("set spin weight 200")
        s.ok("set spin cap 50")
        assert s.ok("info spin").pairs("vm keys")[0]["cap"] == "50"
        s.ok("stop spin -t 100")
        vms = {pairs["name"]: pairs for pairs in s.ok("list").pairs("vm")}
        assert vms["spin"]["reason"] == "killed" and vms["other"]["mem"] == str(4 << 20)
        assert any("by hand" in pairs.get("text", "") for pairs in s.ok("log other").pairs("log"))
        s.ok("poweroff")
        run = s.end()
        assert run.event("frames")["lost"] == "0", str(run)


def test_second_port(boot, tmp_path):
    """What a VM with console=com2 prints goes there, as it is, and nowhere else; no second VM gets the port."""
    port = tmp_path / "com2"
    lines = "build/guests/hello.elf vm=hello mem=8M console=com2\nbuild/guests/hello.elf vm=late mem=8M console=com2\n"
    run = boot(lines + "build/guests/hello.elf vm=first mem=8M\n", com2=str(port))
    text = port.read_text(encoding="utf-8")
    assert text.startswith("hello from a 32-bit multiboot guest"), text
    assert not run.output("hello") and run.output("first"), str(run)
    assert run.event("vm refused", name="late")["why"].startswith("console=com2: vm=hello has the port"), str(run)
    assert run.reasons() == {"hello": "exit", "first": "exit"}, str(run)


def test_reboot():
    with session.Session(HELLO, "idle=monitor") as s:
        s.expect("monitor state=open .*rootlet> ")
        s.ok("reboot")
        s.expect("end status=ok")
        s.expect("rootlet: boot version=")
        s.expect("monitor state=open .*rootlet> ")
        s.ok("poweroff -t 100")
        s.expect("end status=ok")
        s.run = s.end()


def test_wrong_options_are_named(boot):
    run = boot(HELLO, options="idle=monitor monitor=off", check=False)
    assert [line for line in run.host_lines if re.search("idle=monitor and monitor=off", line)], str(run)
    run.check_fail_end()
