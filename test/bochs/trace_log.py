# SPDX-License-Identifier: BSD-2-Clause
"""Writes serial logs with a trace as docs/trace.md says, for the tests of tools/trace: an encoder that shares nothing
with it."""
import base64
import random

ENTER, LEAVE, WAKE, MIGRATE, KICK, SLEEP, AWAKE, VM_START, VM_STOP = 128, 129, 130, 131, 133, 134, 135, 136, 137
VM_CREATE, VM_END, VM_DONE = 142, 143, 144
PREEMPTED, BLOCKED, STOPPED = 0, 1, 2
SKIP, RESUME, STOP, LEFT, TO_INNER, TO_HYPERVISOR = 0, 1, 3, 4, 6, 7
CPUID, HLT, VMCALL, VMLAUNCH, VMRESUME, IO, TIMER = 10, 12, 18, 20, 24, 30, 52


class Log:
    """Records by CPU and ring; text() is the serial console's text."""

    def __init__(self, cpus=1, hz=50_000_000):
        self.cpus, self.hz, self.vms, self.lost = cpus, hz, [], {}
        self.rings = {(cpu, kind): [] for cpu in range(cpus) for kind in ("exits", "events")}

    def vm(self, number, name, cpus=1):
        self.vms.append((number, name, cpus))

    def add(self, ring, tsc, rip=0, detail=0, entry=0, vcpu=0, cause=0, action=0):
        values = ((tsc, 8), (rip, 8), (detail, 8), (entry & 0xFFFFFFFF, 4), (vcpu, 2), (cause, 1), (action, 1))
        self.rings[ring].append(b"".join(value.to_bytes(size, "little") for value, size in values))

    def exit(self, cpu, tsc, cause, vcpu, ticks, detail=0, action=SKIP, rip=0x100000):
        self.add((cpu, "exits"), tsc, rip, detail, tsc + ticks, vcpu, cause, action)

    def enter(self, cpu, tsc, vcpu, ticks, detail=50_000, action=0):
        self.exit(cpu, tsc, ENTER, vcpu, ticks, detail, action)

    def event(self, cpu, tsc, cause, vcpu=0, detail=0):
        self.add((cpu, "events"), tsc, detail=detail, vcpu=vcpu, cause=cause)

    def drop(self, cpu, kind, count):
        """The oldest records of a ring were overwritten."""
        del self.rings[cpu, kind][:count]
        self.lost[cpu, kind] = "some"

    def lines(self):
        yield f"rootlet: trace version=1 tsc_hz={self.hz} cpus={self.cpus} record_bytes=32"
        for number, name, cpus in self.vms:
            yield f"rootlet: trace vm id={number} name={name} cpus={cpus}"
        for (cpu, kind), records in self.rings.items():
            yield (f"rootlet: trace ring cpu={cpu} kind={kind} records={len(records)} "
                   f"lost={self.lost.get((cpu, kind), 0)}")
            for at in range(0, len(records), 3):
                yield "rootlet: trace data=" + base64.b64encode(b"".join(records[at : at + 3])).decode()
        yield "rootlet: trace end"

    def text(self):
        return "\r\n".join(["rootlet: boot version=0.1 cpus=1 mem=1", *self.lines(), "rootlet: end status=ok", ""])


class Machine:
    """Plays a scheduler at random and writes what a recorder would: a log, and what is true of it."""

    def __init__(self, seed, cpus=2, vms=4, until=2_000_000, hz=50_000_000):
        self.random, self.log, self.until, self.start = random.Random(seed), Log(cpus, hz), until, 3 << 32
        self.running, self.exits, self.asleep = {}, {}, [0] * cpus
        self.vcpus = []
        for number in range(1, vms + 1):
            count = 1 + number % 2
            self.log.vm(number, f"vm{number}", count)
            self.log.event(0, self.start + number, VM_START, number << 4)
            self.vcpus += [number << 4 | index for index in range(count)]
        self.clock = [self.start + 100] * cpus
        self.free_at = {vcpu: self.start + 100 for vcpu in self.vcpus}
        self.blocked = set()
        while min(self.clock) < self.start + until:
            self.turn(self.clock.index(min(self.clock)))

    def turn(self, cpu):
        """One vCPU's time on a CPU, or a sleep."""
        now = self.clock[cpu]
        vcpu = self.random.choice(self.vcpus)
        if self.free_at[vcpu] > now or self.random.random() < 0.15:
            length = self.random.randrange(100, 60_000)
            self.log.event(cpu, now, SLEEP, detail=now + length)
            self.log.event(cpu, now + length, AWAKE)
            self.asleep[cpu] += length
            self.clock[cpu] = now + length + 10
            return
        if vcpu in self.blocked:
            self.log.event(cpu, now, WAKE, vcpu)
            self.blocked.remove(vcpu)
        begin = now + self.random.randrange(20, 300)
        self.log.enter(cpu, begin, vcpu, 5)
        at, count = begin + 5, self.random.randrange(1, 12)
        for n in range(count):
            at += self.random.randrange(1, 4000)
            ticks, cause = self.random.randrange(10, 500), self.random.choice((CPUID, VMCALL, IO, TIMER))
            last = n == count - 1
            cause, action = (HLT, LEFT) if last else (cause, self.random.choice((SKIP, RESUME, 0x20)))
            self.log.exit(cpu, at, cause, vcpu, ticks, action=action)
            self.exits.setdefault(vcpu, []).append((cause, ticks))
            at += ticks
        self.log.event(cpu, at, LEAVE, vcpu, BLOCKED)
        self.blocked.add(vcpu)
        self.running[vcpu] = self.running.get(vcpu, 0) + at - begin
        self.free_at[vcpu] = self.clock[cpu] = at + 10
