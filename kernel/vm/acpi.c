/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables for guests. Every table has its fixed place, so that the tables which point to others are constant; sums
 * are made when a table is written. Boot CPU, before the guest runs.
 * ACPI Specification 6.4, 5.2.5 "Root System Description Pointer (RSDP)", 5.2.9 "Fixed ACPI Description Table (FADT)",
 * 5.2.10 "Firmware ACPI Control Structure (FACS)", 5.2.12 "Multiple APIC Description Table (MADT)"; IA-PC HPET
 * Specification 1.0a, 3.2.4 "The ACPI 2.0 HPET Description Table (HPET)".
 */
#include "kernel/vm/acpi.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/apic.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"
#include "kernel/vm/spec.h"

/* The places; the DSDT, whose size is iasl's, is last. */
#define AT_RSDP (GUEST_FIRMWARE_BASE + 0x000)
#define AT_RSDT (GUEST_FIRMWARE_BASE + 0x040)
#define AT_XSDT (GUEST_FIRMWARE_BASE + 0x080)
#define AT_FACS (GUEST_FIRMWARE_BASE + 0x0c0) /* on a multiple of 64 */
#define AT_FADT (GUEST_FIRMWARE_BASE + 0x100)
#define AT_HPET (GUEST_FIRMWARE_BASE + 0x220)
#define AT_MADT (GUEST_FIRMWARE_BASE + 0x260)
#define AT_DSDT (GUEST_FIRMWARE_BASE + 0x380)

#define HEADER_BYTES    36u
#define CHECKSUM_OFFSET 9u
#define BODY_MAX        256u

extern const u8 guest_acpi_dsdt[], guest_acpi_dsdt_end[];

/* What every table but RSDP, FACS and DSDT begins with. */
struct PACKED table {
    char signature[4];
    u32 length;
    u8 revision;
    u8 checksum;
    char oem[14];
    u32 oem_revision;
    char creator[4];
    u32 creator_revision;
    u8 body[BODY_MAX];
};

struct PACKED address {
    u8 space; /* 0: memory, 1: port */
    u8 bits;
    u8 offset;
    u8 access; /* 1: byte, 2: word, 3: dword */
    u64 address;
};

struct PACKED fadt {
    u32 facs, dsdt;
    u8 reserved0, profile;
    u16 sci;
    u32 smi_command;
    u8 acpi_enable, acpi_disable, s4bios, pstate;
    u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    u8 pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
    u8 gpe0_bytes, gpe1_bytes, gpe1_base, cst;
    u16 c2_latency_us, c3_latency_us, flush_size, flush_stride;
    u8 duty_offset, duty_width, day_alarm, month_alarm, century;
    u16 boot_flags;
    u8 reserved1;
    u32 flags;
    struct address reset;
    u8 reset_value;
    u16 arm_flags;
    u8 minor;
    u64 x_facs, x_dsdt;
    struct address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer;
    struct address x_gpe0, x_gpe1, sleep_control, sleep_status;
    u64 hypervisor;
};
_Static_assert(sizeof(struct fadt) == 276 - HEADER_BYTES, "the FADT of revision 6");

#define MEMORY(bits, at)                                                                                               \
    (struct address)                                                                                                   \
    {                                                                                                                  \
        0, bits, 0, 0, at                                                                                              \
    }
#define PORT(bits, access, at)                                                                                         \
    (struct address)                                                                                                   \
    {                                                                                                                  \
        1, bits, 0, access, at                                                                                         \
    }

#define FADT_WBINVD          BIT(0)
#define FADT_PROC_C1         BIT(2)
#define FADT_NO_SLEEP_BUTTON BIT(5)
#define FADT_NO_RTC_WAKE     BIT(6)
#define FADT_TIMER_32        BIT(8)
#define FADT_RESET           BIT(10)
#define FADT_HAS_ISA         1u
#define FADT_HAS_8042        2u

/* No SMI command port: the machine is in ACPI mode from the start. Latencies that say "no such C-state". */
static const struct fadt fadt = {
    .facs = AT_FACS,
    .dsdt = AT_DSDT,
    .sci = GUEST_ACPI_SCI,
    .pm1a_event = GUEST_ACPI_PM1_EVENT,
    .pm1a_control = GUEST_ACPI_PM1_CONTROL,
    .pm_timer = GUEST_ACPI_PM_TIMER,
    .pm1_event_bytes = 4,
    .pm1_control_bytes = 2,
    .pm_timer_bytes = 4,
    .c2_latency_us = 0xfff,
    .c3_latency_us = 0xfff,
    .century = 0x32,
    .boot_flags = FADT_HAS_ISA | FADT_HAS_8042,
    .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_TIMER_32 | FADT_RESET,
    .reset = PORT(8, 1, GUEST_ACPI_RESET_PORT),
    .reset_value = GUEST_ACPI_RESET_VALUE,
    .x_dsdt = AT_DSDT,
    .x_pm1a_event = PORT(32, 2, GUEST_ACPI_PM1_EVENT),
    .x_pm1a_control = PORT(16, 2, GUEST_ACPI_PM1_CONTROL),
    .x_pm_timer = PORT(32, 3, GUEST_ACPI_PM_TIMER),
};

struct PACKED hpet {
    u32 id;
    struct address base;
    u8 number;
    u16 least_tick;
    u8 attributes;
};

static const struct hpet hpet = {
    .id = GUEST_ACPI_HPET_ID,
    .base = MEMORY(64, GUEST_ACPI_HPET),
    .least_tick = 100,
};

struct PACKED madt {
    u32 lapic, flags;
    u8 ioapic_type, ioapic_bytes, ioapic_id, reserved;
    u32 ioapic, gsi_base;
    struct PACKED override {
        u8 type, bytes, bus, irq;
        u32 gsi;
        u16 flags;
    } timer, sci;
    u8 nmi_type, nmi_bytes, nmi_cpu;
    u16 nmi_flags;
    u8 nmi_lint;
    struct PACKED cpu {
        u8 type, bytes, uid, apic_id;
        u32 flags;
    } cpus[VM_MAX_VCPUS];
};

#define OVERRIDE(irq, gsi, flags)                                                                                      \
    (struct override)                                                                                                  \
    {                                                                                                                  \
        2, 10, 0, irq, gsi, flags                                                                                      \
    }

#define MADT_HAS_PIC           1u
#define MADT_CPU_ENABLED       1u
#define MADT_LEVEL_ACTIVE_HIGH 0xdu
#define MADT_ALL_CPUS          0xffu

static const struct madt madt_template = {
    .lapic = APIC_ADDRESS,
    .flags = MADT_HAS_PIC,
    .ioapic_type = 1,
    .ioapic_bytes = 12,
    .ioapic = GUEST_ACPI_IOAPIC,
    .timer = OVERRIDE(0, 2, 0),
    .sci = OVERRIDE(GUEST_ACPI_SCI, GUEST_ACPI_SCI, MADT_LEVEL_ACTIVE_HIGH),
    .nmi_type = 4,
    .nmi_bytes = 6,
    .nmi_cpu = MADT_ALL_CPUS,
    .nmi_lint = 1,
};

static const u32 rsdt[] = {AT_FADT, AT_MADT, AT_HPET};
static const u64 xsdt[] = {AT_FADT, AT_MADT, AT_HPET};

struct PACKED rsdp {
    char signature[8];
    u8 checksum;
    char oem[6];
    u8 revision;
    u32 rsdt;
    u32 length;
    u64 xsdt;
    u8 checksum_all;
    u8 reserved[3];
};
#define RSDP_V1_BYTES 20u

struct PACKED facs {
    char signature[4];
    u32 length;
    u32 not_used[6]; /* no S-states from which to wake, nobody to share the global lock with */
    u8 version;
    u8 reserved[31];
};
_Static_assert(sizeof(struct facs) == 64, "the FACS of version 2");

struct source {
    u32 at;
    char signature[5];
    u8 revision;
    u16 bytes;
    const void *body;
};

static enum status write_table(const struct guest_memory *memory, const struct source *source)
{
    struct table table = {.length = HEADER_BYTES + source->bytes,
                          .revision = source->revision,
                          .oem = "ROOTLTROOTLET",
                          .oem_revision = 1,
                          .creator = "RTLT",
                          .creator_revision = 1};

    memcpy(table.signature, source->signature, sizeof table.signature);
    memcpy(table.body, source->body, source->bytes);
    table.checksum = bytes_checksum(&table, table.length);
    return guest_memory_write(memory, gpa(source->at), &table, table.length);
}

enum status guest_acpi_install(const struct guest_memory *memory, u32 cpus, gpa_t *rsdp)
{
    struct madt madt = madt_template;
    u16 madt_bytes = (u16)(offsetof(struct madt, cpus) + cpus * sizeof madt.cpus[0]);
    struct rsdp root = {.signature = "RSD PTR ",
                        .oem = "ROOTLT",
                        .revision = 2,
                        .rsdt = AT_RSDT,
                        .length = sizeof root,
                        .xsdt = AT_XSDT};
    const struct facs facs = {.signature = "FACS", .length = sizeof facs, .version = 2};
    const struct source tables[] = {
        {AT_RSDT, "RSDT", 1, sizeof rsdt, rsdt },
        {AT_XSDT, "XSDT", 1, sizeof xsdt, xsdt },
        {AT_FADT, "FACP", 6, sizeof fadt, &fadt},
        {AT_HPET, "HPET", 1, sizeof hpet, &hpet},
        {AT_MADT, "APIC", 4, madt_bytes,  &madt},
    };

    for (u32 i = 0; i < cpus; i++)
        madt.cpus[i] = (struct cpu){0, sizeof(struct cpu), (u8)i, (u8)i, MADT_CPU_ENABLED};
    root.checksum = bytes_checksum(&root, RSDP_V1_BYTES);
    root.checksum_all = bytes_checksum(&root, sizeof root);
    *rsdp = gpa(AT_RSDP);
    enum status status = guest_memory_write(memory, *rsdp, &root, sizeof root);
    for (u32 i = 0; status == STATUS_OK && i < ARRAY_SIZE(tables); i++)
        status = write_table(memory, &tables[i]);
    if (status == STATUS_OK)
        status = guest_memory_write(memory, gpa(AT_FACS), &facs, sizeof facs);
    if (status == STATUS_OK)
        status =
            guest_memory_write(memory, gpa(AT_DSDT), guest_acpi_dsdt, (u64)(guest_acpi_dsdt_end - guest_acpi_dsdt));
    return status;
}
