/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MP table: floating pointer and configuration table, at fixed places in the BIOS's own 64 KiB, which are ROM for
 * the guest. Pure but for guest memory and CPUID.
 * Intel MultiProcessor Specification 1.4, 4.1 "MP Floating Pointer Structure", 4.2 "MP Configuration Table Header",
 * 4.3 "Base MP Configuration Table Entries".
 */
#include "kernel/vm/mptable.h"
#include "arch/x86/cpu.h"
#include "kernel/lib/apic.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"
#include "kernel/vm/acpi.h"
#include "kernel/vm/firmware.h"
#include "kernel/vm/spec.h"

#define AT_POINTER (GUEST_BIOS_BASE + 0x000)
#define AT_TABLE   (GUEST_BIOS_BASE + 0x010)

#define VERSION_1_4          4u
#define LOCAL_APIC_VERSION   0x14u
#define IO_APIC_VERSION      0x20u
#define CPU_ENABLED          1u
#define CPU_BOOT             2u
#define IO_APIC_ENABLED      1u
#define IO_APIC_ID           0u
#define BUS_PCI              0u /* as the configuration mechanism numbers it */
#define BUS_ISA              1u
#define ISA_IRQS             16u
#define CASCADE_IRQ          2u
#define ALL_APICS            0xffu
#define LEVEL_ACTIVE_HIGH    0xdu
#define FEATURES_OF_THE_SPEC 0x381u /* FPU, MCE, CX8, APIC: table 4-6 */
#define FEATURE_APIC         BIT(9)

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IO_APIC, ENTRY_IO_INTERRUPT, ENTRY_LOCAL_INTERRUPT };
enum interrupt { INTERRUPT_VECTORED, INTERRUPT_NMI, INTERRUPT_SMI, INTERRUPT_EXTERNAL };

struct PACKED pointer {
    char signature[4];
    u32 table;
    u8 paragraphs, version, checksum;
    u8 features[5]; /* no default configuration; no IMCR: virtual wire mode */
};
_Static_assert(sizeof(struct pointer) == 16, "one paragraph");

struct PACKED cpu {
    u8 type, apic_id, apic_version, flags;
    u32 signature, features;
    u64 reserved;
};

struct PACKED bus {
    u8 type, id;
    char name[6];
};

struct PACKED io_apic {
    u8 type, id, version, flags;
    u32 address;
};

struct PACKED assignment {
    u8 type, interrupt;
    u16 flags; /* 0: as the bus has it */
    u8 bus, irq, apic, pin;
};

struct PACKED header {
    char signature[4];
    u16 length;
    u8 version, checksum;
    char oem[20]; /* OEM and product */
    u32 oem_table;
    u16 oem_table_bytes, entries;
    u32 local_apic;
    u16 extended_bytes;
    u8 extended_checksum, reserved;
};
_Static_assert(sizeof(struct header) == 44, "the header of version 1.4");

struct table {
    struct header header;
    u8 entries[VM_MAX_VCPUS * sizeof(struct cpu) + 2 * sizeof(struct bus) + sizeof(struct io_apic) +
               (ISA_IRQS + 2) * sizeof(struct assignment)];
};
_Static_assert(AT_TABLE + sizeof(struct table) <= GUEST_BIOS_SMBIOS, "the SMBIOS structures follow");

static void append(struct table *table, const void *entry, u16 bytes)
{
    memcpy(table->entries + (table->header.length - sizeof table->header), entry, bytes);
    table->header.length += bytes;
    table->header.entries++;
}

static void append_cpus(struct table *table, u32 cpus)
{
    struct cpuid_result one = cpu_cpuid(1, 0);
    struct cpu cpu = {.type = ENTRY_CPU,
                      .apic_version = LOCAL_APIC_VERSION,
                      .flags = CPU_ENABLED | CPU_BOOT,
                      .signature = one.eax,
                      .features = (one.edx & FEATURES_OF_THE_SPEC) | (u32)FEATURE_APIC};

    for (u32 i = 0; i < cpus; i++, cpu.flags = CPU_ENABLED) {
        cpu.apic_id = (u8)i;
        append(table, &cpu, sizeof cpu);
    }
}

static void append_interrupts(struct table *table)
{
    const struct assignment external = {ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTERNAL, 0, BUS_ISA, 0, 0, 0};
    const struct assignment nmi = {ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, 0, BUS_ISA, 0, ALL_APICS, 1};

    for (u8 irq = 0; irq < ISA_IRQS; irq++) {
        u16 flags = irq == GUEST_ACPI_SCI ? LEVEL_ACTIVE_HIGH : 0;
        u8 pin = irq == 0 ? 2 : irq;
        struct assignment a = {ENTRY_IO_INTERRUPT, INTERRUPT_VECTORED, flags, BUS_ISA, irq, IO_APIC_ID, pin};
        if (irq != CASCADE_IRQ)
            append(table, &a, sizeof a);
    }
    append(table, &external, sizeof external); /* the 8259A is LINT0 of the boot processor */
    append(table, &nmi, sizeof nmi);
}

enum status guest_mptable_install(const struct guest_memory *memory, u32 cpus)
{
    const struct bus pci = {ENTRY_BUS, BUS_PCI, "PCI   "}, isa = {ENTRY_BUS, BUS_ISA, "ISA   "};
    const struct io_apic io_apic = {ENTRY_IO_APIC, IO_APIC_ID, IO_APIC_VERSION, IO_APIC_ENABLED, GUEST_ACPI_IOAPIC};
    struct pointer pointer = {.signature = "_MP_", .table = AT_TABLE, .paragraphs = 1, .version = VERSION_1_4};
    struct table table = {
        .header = {.signature = "PCMP",
                   .length = sizeof table.header,
                   .version = VERSION_1_4,
                   .oem = "ROOTLET PC          ",
                   .local_apic = APIC_ADDRESS}
    };

    append_cpus(&table, cpus);
    append(&table, &pci, sizeof pci);
    append(&table, &isa, sizeof isa);
    append(&table, &io_apic, sizeof io_apic);
    append_interrupts(&table);
    table.header.checksum = bytes_checksum(&table, table.header.length);
    pointer.checksum = bytes_checksum(&pointer, sizeof pointer);
    enum status status = guest_memory_write(memory, gpa(AT_TABLE), &table, table.header.length);
    return status == STATUS_OK ? guest_memory_write(memory, gpa(AT_POINTER), &pointer, sizeof pointer) : status;
}
