/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables that the host reads: MADT (CPUs, interrupt controllers), FADT (power, PM timer, reset), HPET, DMAR
 * (IOMMUs), MCFG, SPCR (serial console), and \_S5 and _BBN from the DSDT. Pure: tables come through a reader, every
 * length and checksum is checked, the result is plain data. A broken table is left out and counted; nothing here fails
 * for want of a table except acpi_parse without any root. ACPI Specification 6.4, 5.2 "ACPI System Description Tables".
 */
#ifndef ROOTLET_ARCH_ACPI_H
#define ROOTLET_ARCH_ACPI_H

#include "kernel/lib/status.h"
#include "arch/x86/percpu.h"

#define ACPI_MAX_IOAPICS   8u
#define ACPI_ISA_IRQS      16u
#define ACPI_MAX_NMI_LINES 16u
#define ACPI_MAX_IOMMUS    16u

struct acpi_reader {
    /* A pointer to `bytes` bytes of physical memory at `address`, or NULL if they cannot be read. */
    const void *(*map)(void *context, u64 address, u64 bytes);
    void *context;
};

struct acpi_ioapic {
    u64 address;
    u32 gsi_base;
    u8 id;
};

struct acpi_isa_irq {
    u32 gsi;
    bool active_low;
    bool level;
};

struct acpi_reset {
    bool usable;
    bool is_port; /* else memory */
    u64 address;
    u8 value;
};

struct acpi_sleep {
    bool usable; /* \_S5 was found */
    u8 type_a;
    u8 type_b;
};

struct acpi_iommu {
    u64 address; /* its registers, 4 KiB */
    u16 segment;
};

/* The serial port that firmware names for consoles. */
struct acpi_serial {
    bool is_named;
    bool usable;  /* a 16550 at a port or in memory */
    bool is_port; /* else memory */
    bool wide;    /* in memory: each register is 32 bits wide */
    u64 address;
    u8 isa_irq; /* 0: none */
};

struct acpi_info {
    u32 cpu_apic_ids[CPU_MAX]; /* enabled CPUs, in the order of the MADT */
    u32 cpu_count;
    u32 cpus_left_out; /* enabled CPUs beyond CPU_MAX */
    u32 max_apic_id;
    u64 lapic_address;
    struct acpi_ioapic ioapics[ACPI_MAX_IOAPICS];
    u32 ioapic_count;
    struct acpi_isa_irq isa_irqs[ACPI_ISA_IRQS]; /* identity, edge, active high unless overridden */
    u32 nmi_lines;                               /* local APIC NMI entries seen */
    bool nmi_lint0;                              /* an entry connects NMI to LINT0 instead of LINT1 */
    u16 pm1a_control;                            /* ports; 0: none */
    u16 pm1b_control;
    u16 pm_timer_port; /* 0: none */
    u8 pm_timer_bits;  /* 24 or 32 */
    u16 smi_command_port;
    u8 acpi_enable_value;
    struct acpi_reset reset;
    struct acpi_sleep s5;
    u64 hpet_address; /* 0: none */
    struct acpi_iommu iommus[ACPI_MAX_IOMMUS];
    u32 iommu_count;
    u32 iommus_left_out;
    u32 last_pci_segment; /* 0: the only one, or not known */
    bool other_pci_roots; /* PCI buses that no bridge of bus 0 leads to */
    struct acpi_serial spcr;
    u32 tables_found;
    u32 tables_broken; /* unreadable, truncated, or with a wrong checksum */
    bool has_madt;
};

/*
 * Reads all tables below the RSDP. `rsdp`: the boot loader's copy, of `rsdp_bytes` bytes (20 or 36), or NULL to search
 * the EBDA and 0xE0000-0xFFFFF. STATUS_UNSUPPORTED: no RSDP or no root table; *out then describes a machine with one
 * CPU and no tables.
 */
COLD enum status acpi_parse(const struct acpi_reader *reader, const void *rsdp, size_t rsdp_bytes,
                            struct acpi_info *out, struct refusal *why) MUST_CHECK;

#endif
