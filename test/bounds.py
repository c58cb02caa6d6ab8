# SPDX-License-Identifier: BSD-2-Clause
"""The bounds of speed and size, once. tools/bench measures against them; the lint reads them, too.

Ticks are instructions of Bochs 2.7. A row: the name that the guest prints, words, bound, Linux 6.1 KVM's figure in the
same Bochs.
"""
KIB = 1024

CORE_BYTES = 276 * KIB
EXPLAIN_BYTES = 92 * KIB
MONITOR_BYTES = 48 * KIB  # with snapshots
NESTED_BYTES = 64 * KIB
VM_OVERHEAD_BYTES = 32 * KIB
RECORDER_TICKS = 25
FIRST_ENTRY_TICKS = 20_000_000
RESTORE_TICKS = 60_000  # of a small guest that has written 20 pages since
CLONE_TICKS = 1_000_000  # of a VM of 256 MiB: from the command until it runs
CLONE_BYTES = 4 << 20  # its own, before it writes
SHARE_ERROR = 2.0
CROWD_PERCENT = 5.0
HANDOVER_US = 10_000  # guests/handover on one CPU: 20 turns; a slice each would be 200,000
ATTACKER_SHARE = 100 / 101  # percent of a CPU: weight 1 beside weight 100
ATTACK_LOSS = 3.0  # percent that a neighbour loses beyond that
GAP_US = 12_000  # a slice is 10 ms
OTHER_GAP_US = 1_000

# guests/hostile: attack=, and keys of its line. The tests try these; tools/bench the others, too.
ATTACKS = (
    ("flood", "cpus=1"),
    ("strings", "cpus=2"),
    ("timer", "cpus=1"),
    ("blocked", "cpus=1"),
    ("lapic-masked", "cpus=16"),
    ("hpet", "cpus=2"),
    ("ipi", "cpus=2"),
    ("broadcast", "cpus=16"),
    ("nmi", "cpus=16"),
    ("init", "cpus=16"),
    ("mtrr", "cpus=16"),
    ("storm", "cpus=16"),
    ("rewinds", "cpus=1"),
)
MORE_ATTACKS = (
    ("uart", "cpus=16"),
    ("lapic", "cpus=16"),
    ("lapic-masked", "cpus=16 cap=1"),
    ("hpet-masked", "cpus=1"),
    ("rtc", "cpus=1"),
    ("all", "cpus=16"),
    ("naps", "cpus=16"),
    ("wakes", "cpus=16"),
    ("x2", "cpus=16"),
    ("selfnmi", "cpus=16"),
    ("chain", "cpus=16"),
    ("moves", "cpus=16"),
    ("exits", "cpus=16"),
    ("copies", "cpus=16"),
    ("yields", "cpus=16"),
    ("pauses", "cpus=16"),
)

# Likewise, on another CPU, which they have to themselves: what runs on this one loses nothing, whatever its weight.
FAR_ATTACKS = (
    ("rewinds", "cpus=1"),
    ("rewinds", "cpus=16"),
    ("layers", "cpus=1"),
)

# These by tools/bench alone: with the others they would be more than what one may take.
MORE_FAR_ATTACKS = (("flood", "cpus=1"), ("holes", "cpus=1"))

# Likewise with their vCPUs on both CPUs, so that what sleeps beside the neighbour is sent to from elsewhere.
SPLIT_ATTACKS = (
    ("ipi", "cpus=2"),
    ("broadcast", "cpus=16"),
    ("wakes", "cpus=16"),
    ("nmi", "cpus=16"),
    ("init", "cpus=16"),
)

# What ends late in its slice with a long report: payload, keys of its line, the reason of its end. On Bochs 2.7.
ENDS = (
    ("badstate.elf", "", "entry-failure"),
    ("badstate.elf", "dump=vmcs", "entry-failure"),
    ("triple.elf", "dump=vmcs", "triple-fault"),
    ("triple.elf", "dump=screen", "triple-fault"),
    ("smp.elf", "cpus=16 dump=vmcs", "exit"),  # more than the console's ring has
)

# guests/bench, on one vCPU.
EXITS = (
    ("cpuid", "CPUID exit", 125, 994),
    ("hypercall", "null hypercall", 134, 1030),
    ("rdmsr", "RDMSR of IA32_APIC_BASE", 120, 1110),
    ("rdmsr-1a0", "RDMSR of IA32_MISC_ENABLE, which is emulated", 200, None),
    ("wrmsr-deadline", "WRMSR of IA32_TSC_DEADLINE", 298, None),
    ("in-pic", "IN from the virtual PIC", 175, 1254),
    ("out-nothing", "OUT to a port that nothing answers", 158, 3435),
    ("out-505", "OUT to such a port beside the power-management ports", 158, None),
    ("mmio-hpet", "read of the HPET's counter by MMIO", 400, 7178),
    ("mmio-nothing", "read of memory that nothing answers", 640, None),
    ("ioapic-read", "read of an I/O APIC register", 350, None),
    ("ioapic-write", "write of an I/O APIC register", 600, None),
    ("apic-count", "xAPIC timer's current count", 400, None),
    ("deadline", "TSC deadline in a spinning guest to its handler", 432, None),
    ("pit", "PIT expiry to the handler's first instruction", 365, 2165),
)
# guests/benchapic, on two CPUs of its own; first the CPU's APIC virtualisation serves it, then software.
APIC = (
    ("x2-tpr", "write of TPR in x2APIC mode", 20, None),
    ("x2-eoi", "EOI in x2APIC mode", 20, 1184),
    ("self-ipi", "self-IPI in x2APIC mode to its handler", 20, 2440),
    ("deadline", "TSC deadline in HLT, CPU idle, to its handler", 620, 3045),
    ("one-shot", "APIC timer one-shot in HLT to its handler", 715, None),
    ("ipi", "IPI to a running vCPU on another CPU to its handler", 620, None),
    ("nmi", "NMI to a running vCPU on another CPU to its handler", 700, None),
    ("ipi-halt", "IPI to a vCPU in HLT on another CPU to its handler", 1200, None),
    ("nmi-halt", "NMI to a vCPU in HLT on another CPU to its handler", 1200, None),
    ("sipi", "SIPI to a vCPU that waits for it to its first instruction", 1200, None),
    ("init", "INIT to a running vCPU until it has stopped", 700, None),
    ("init-sipi", "INIT and SIPI to a running vCPU to its first instruction", 1900, None),
)
SOFT_APIC = (
    ("x2-eoi", "EOI in x2APIC mode, apicv off", 205, 1184),
    ("mmio-eoi", "EOI by xAPIC MMIO, apicv off", 420, 3849),
    ("deadline", "TSC deadline in HLT, CPU idle, to its handler, apicv off", 620, 3045),
    ("one-shot", "APIC timer one-shot in HLT to its handler, apicv off", 720, None),
    ("ipi", "IPI to a running vCPU on another CPU to its handler, apicv off", 635, None),
)
# limit= and cap= are kept where the vCPU sleeps, and change none of it.
LIMITED_APIC = (
    ("ipi-halt", "IPI to a vCPU in HLT on another CPU to its handler, limit=60000", 1200, None),
    ("nmi-halt", "NMI to a vCPU in HLT on another CPU to its handler, limit=60000", 1200, None),
    ("sipi", "SIPI to a vCPU that waits for it to its first instruction, limit=60000", 1200, None),
)
# guests/inner, a guest hypervisor, by its lines "inner: ticks"; KVM's by tools/bench --only nested --kvm.
NESTED = (
    ("vmread", "VMREAD of a guest hypervisor", 12, 10),
    ("vmwrite", "VMWRITE of a guest hypervisor", 12, 10),
    ("cpuid", "CPUID of an inner guest, reflected, and VMRESUME at once", 1440, 18819),
    ("in-more", "IN that Rootlet does for an inner guest: more than for an outer one", 55, 924),
    ("rdmsr-more", "RDMSR of an inner guest that nobody wants to see: likewise", 5, 0),
    ("first-touch", "first touch of an inner guest's page with EPT", 1200, 7455),
)
