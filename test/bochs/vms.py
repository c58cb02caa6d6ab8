# SPDX-License-Identifier: BSD-2-Clause
"""VM lines that several test files share, and what each guest of the tree must do."""
import os
import re

import machine

MIDDLE_MODEL = "corei7_haswell_4770"
OLD_MODELS = ("corei7_skylake_x", MIDDLE_MODEL, "corei7_sandy_bridge_2600k")
# With monitor trap flag, mode-based execute control, sub-page permissions and PKU; CET; PKS. Bochs 2.7 lacks the last.
NEW_MODELS = tuple(name for name in ("corei7_icelake_u", "tigerlake", "arrow_lake") if name in machine.engine_models())
MODELS = OLD_MODELS + NEW_MODELS

# One guest for each thing that the CPU's features touch: short ones, since many boots run them.
SMALL = """\
build/guests/hello.elf       vm=hello mem=8M -- one two
build/guests/hello2.elf      vm=hello2 mem=8M
build/guests/bootsector.bin  vm=real mem=1M
build/guests/long64.elf      vm=long mem=8M
build/guests/timer.elf       vm=timer mem=4M -- ticks=30
build/guests/compute.elf     vm=sum1 mem=4M -- seed=1 ms=60
build/guests/compute.elf     vm=sum2 mem=4M weight=300 -- seed=9 ms=60
build/guests/hypercalls.elf  vm=calls mem=4M
build/guests/control.elf     vm=control mem=4M
build/guests/smp.elf         vm=smp mem=4M cpus=2
build/guests/pku.elf         vm=pku mem=8M
"""
# Payload -> the reasons with which its VM may stop and a line that it must have printed.
GUESTS = {
    "hello.elf": ("exit", r"hello from a 32-bit multiboot guest"),
    "hello2.elf": ("exit", r"hello"),
    "long64.elf": ("exit", r"long64 ok"),
    "bootsector.bin": ("poweroff", r"bootsector ok"),
    "timer.elf": ("halt", r"timer ok"),
    "hypercalls.elf": ("exit", r"hypercalls ok"),
    "control.elf": ("exit", r"control ok"),
    "compute.elf": ("exit", r"compute ok rounds=\d+"),
    "smp.elf": ("exit", r"smp ok vcpus=\d+ count=\d+"),
    "echo.elf": ("exit", r"echo ok"),
    "bench.elf": ("exit", r"bench ok"),
    "pku.elf": ("exit", r"pku ok"),
    "selfipi.elf": ("exit", r"selfipi ok"),
    "ends.elf": ("exit", r"ends how="),
    "selfdebug.elf": ("exit", r"selfdebug ok"),
    "traps.elf": ("exit", r"traps ok"),
    "operands.elf": ("exit", r"operands ok"),
    "tasks.elf": ("exit", r"tasks ok"),
    "spinner.elf": ("limit", r"spinner spinning"),
    "invaders.exec": ("limit", None),
    # The hostile ones.
    "triple.elf": ("triple-fault", r"triple: "),
    # On hardware it survives; Bochs refuses the entry. What comes first must be survived everywhere.
    "badstate.elf": ("entry-failure|exit", r"badstate 1 survived"),
    "outside.elf": ("exit", r"outside ok"),
    "ports.elf": ("exit", r"ports ok"),
    "msrs.elf": ("exit", r"msrs ok"),
    "spincli.elf": ("limit", r"spincli: "),
    "vmxinsn.elf": ("exit", r"vmxinsn ok"),
    "vmxroot.elf": ("exit", r"vmxroot ok"),
    "inner.elf": ("exit", r"inner ok"),
    "wildcalls.elf": ("exit", r"wildcalls ok"),
    "ownpt.elf": ("triple-fault", r"ownpt writing"),
    "hostile.elf": ("exit", None),
}


def read(path):
    with open(os.path.join(machine.TREE, path), encoding="utf-8") as file:
        return file.read()


def optional_features():
    """The names that vmx.disable= takes, from the tables that define them."""
    names = re.findall(r'^\s*\{"([a-z0-9-]+)",\s*EPT_CAP', read("vmx/caps.c"), re.MULTILINE)
    names += re.findall(r'^\s*\{VMX_\w+,.*"([a-z0-9-]+)"\s*\},', read("vmx/controls.c"), re.MULTILINE)
    return sorted(names)


def can_run(line, disabled):
    """False: no Bochs can end this guest. It takes no external interrupt while a guest runs with RFLAGS.IF clear, so
    only the preemption timer ends the slice of one that spins so (docs/running.md, "Bochs")."""
    return "preemption-timer" not in disabled or "/spincli.elf" not in line


def payloads(text):
    """VM name -> file name of its boot image."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#") or re.search(r"\srole=(?!boot)", line.split(" -- ")[0]):
            continue
        name = re.search(r"\svm=(\S+)", line)
        if name:
            found[name.group(1)] = os.path.basename(words[0])
    return found


def check_guest(run, name, payload):
    """The VM stopped with the reason of its guest, after the guest's own word that all is well."""
    reason, word = GUESTS[payload]
    stop = run.event("vm stop", name=name)
    assert stop["reason"] in reason.split("|"), f"{name}: {stop}\n{run}"
    if stop["reason"] == "exit":
        assert stop.get("status") == "0", f"{name}: {stop}\n{run}"
    if word:
        assert [line for line in run.output(name) if re.search(word, line)], f"{name}: no line {word}\n{run}"


def check_guests(run, text):
    for name, payload in payloads(text).items():
        run.event("vm start", name=name)
        check_guest(run, name, payload)


def cycles(count):
    """A VM that is made, runs and ends so often, for test=restart-at-once."""
    return f"build/guests/ends.elf vm=cycle mem=2M cpus=8 restart=always restarts={count - 1} -- how=exit\n"


TICKS_PER_US = 50  # a tick is an instruction, and the TSC of test machines has 50 MHz


def restores(count):
    """The line of a VM that goes back to its snapshot so often."""
    return f"build/guests/rewind.elf vm=rewind mem=8M -- restores={count} plain=1\n"


def check_restores(run, count):
    """None is missing, no frame is lost. Returns what one of the first and of the last hundred has cost, in ticks: with
    the copies of the 20 pages that are written in between, the accesses to devices, and the way there and back."""
    run.check_good_end()
    at = {int(n): int(us) for n, us in re.findall(r"rewind times=(\d+) us=(\d+)", "\n".join(run.output("rewind")))}
    assert f"rewind ok restores={count} vcpus=1" in run.output("rewind"), str(run)
    first = (at[100] - at[1]) * TICKS_PER_US // 99
    last = (at[count] - at[count - 100]) * TICKS_PER_US // 100
    # The guest divides later times, which takes it some more.
    assert last <= first + first // 30, f"{first} ticks at first, {last} at last"
    return first, last


def check_cycles(run, count):
    """No run of it is missing, no frame is lost. Returns what a run of the first and of the last hundred has cost."""
    run.check_good_end()
    assert len(run.events("vm stop", name="cycle", reason="exit", status="0")) == count
    assert len(run.output("cycle")) == count
    costs = [int(line["ticks"]) for line in run.events("test") if "ticks" in line]
    frames = {line["frames"] for line in run.events("test") if "frames" in line}
    assert len(costs) == (count - 1) // 100 and len(frames) == 1, str(run)
    assert abs(costs[-1] - costs[0]) <= costs[0] // 100, f"{costs[0]} ticks at first, {costs[-1]} at last"
    return costs[0], costs[-1]


# Entries that the SDM allows and an engine refuses: docs/entry-checks.md. The guest hypervisor gets exit 33.
REFUSED_BY_ENGINE = {"bochs2": "VMCS guest non-conforming CS.RPL <> CS.DPL"}
GAPS = "".join(f"build/guests/gap.elf vm={name} mem=4M affinity={cpu} limit=60000 -- ms=1000\n"
               for cpu, name in enumerate(("same", "other")))


def random_entries(count, seed, keys=""):
    """A guest hypervisor that enters so many random VMCSs: the battery."""
    return (f"build/battery.elf vm=battery mem=64M nested=on affinity=0 {keys}\n"
            "build/guests/hello.elf vm=battery role=module -- "
            f"vm=battery mem=4M -- in-vm=1 random={count} seed={seed}\n")


def torn_vmcss(count, seed, keys=""):
    """One whose second vCPU writes to its VMCSs, and to all that they point to, while the first enters."""
    return f"build/guests/inner.elf vm=wild mem=32M cpus=2 nested=on {keys} -- wild={count} seed={seed}\n"


def check_own_entries(run):
    """None of Rootlet's own has failed, but those that the engine alone refuses. Returns how many these are."""
    failed = [line for line in run.log.splitlines() if re.search(r"\[CPU\d+\s*\] (VMFAIL|VMENTER FAIL)", line)]
    known = REFUSED_BY_ENGINE.get(machine.engine_name())
    assert not [line for line in failed if not known or known not in line], f"{failed}\n{run}"
    return len(failed)


def check_random_entries(run, count):
    """Each ended as the checker says. Returns how many led into an inner guest."""
    refused = check_own_entries(run)
    differ = [line for line in run.output("battery") if line.startswith("D ")]
    assert not [line for line in differ if " 30!, the checker: 0 0:" not in line], f"{differ}\n{run}"
    assert len(differ) <= refused, f"{differ}\n{run}"
    cases, entered = re.search(r"battery cases=(\d+) entered=(\d+) ", "\n".join(run.output("battery"))).groups()
    assert int(cases) == count and int(entered) > count // 3, str(run)
    return int(entered)


def check_torn_vmcss(run):
    """Returns how many entries led into an inner guest."""
    check_own_entries(run)
    check_guest(run, "wild", "inner.elf")
    entered = re.search(r"inner: wild vmcss=\d+ entered=(\d+) ", "\n".join(run.output("wild")))
    assert entered and int(entered[1]) > 0, str(run)
    return int(entered[1])


def check_gaps(run):
    """Each neighbour had half its CPU, beside one vCPU that takes all that it can get."""
    for name in ("same", "other"):
        stats = run.event("vm stats", name=name)
        assert int(stats["run_us"]) > 0.44 * int(stats["wall_us"]), f"{stats}\n{run}"
