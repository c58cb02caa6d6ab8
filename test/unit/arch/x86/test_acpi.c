/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI reader on handmade tables: what firmware writes, and what broken firmware writes. Every piece of memory that
 * the parser maps is a heap copy of exactly that length, so that the sanitizer sees a byte read beyond it.
 * links: arch/x86/acpi.c arch/x86/acpi_devices.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/acpi.h"

#define MEMORY_BYTES 0x100000u
#define COPIES       1024u

#define RSDP 0xe0010u
#define ROOT 0x1000u
#define MADT 0x2000u
#define FADT 0x3000u
#define DSDT 0x4000u
#define HPET 0x5000u
#define SSDT 0x6000u

static u8 memory[MEMORY_BYTES + 64]; /* the rest is out of the parser's reach */
static void *copies[COPIES];
static u32 copy_count;
static struct acpi_info info;
static struct refusal why;

static const void *map(void *context, u64 address, u64 bytes)
{
    assert_ptr_equal(context, memory);
    if (address >= MEMORY_BYTES || bytes > MEMORY_BYTES - address)
        return NULL;
    assert_true(copy_count < COPIES);
    void *copy = malloc(bytes);
    memcpy(copy, memory + address, bytes);
    copies[copy_count++] = copy;
    return copy;
}

static const struct acpi_reader reader = {map, memory};

static void put(u32 address, u64 value, u32 bytes)
{
    for (u32 i = 0; i < bytes; i++)
        memory[address + i] = (u8)(value >> (8 * i));
}

static void fix_checksum(u32 address, u32 bytes, u32 checksum_offset)
{
    u8 sum = 0;
    memory[address + checksum_offset] = 0;
    for (u32 i = 0; i < bytes; i++)
        sum = (u8)(sum + memory[address + i]);
    memory[address + checksum_offset] = (u8)-sum;
}

static void seal(u32 address, const char *signature, u32 length)
{
    memcpy(memory + address, signature, 4);
    put(address + 4, length, 4);
    fix_checksum(address, length, 9);
}

static void put_rsdp(u32 address, u8 revision, u64 xsdt)
{
    memcpy(memory + address, "RSD PTR ", 8);
    memory[address + 15] = revision;
    put(address + 16, ROOT, 4);
    put(address + 20, 36, 4);
    put(address + 24, xsdt, 8);
    fix_checksum(address, 20, 8);
    fix_checksum(address, 36, 32);
}

static void put_root(const u32 *tables, u32 count)
{
    for (u32 i = 0; i < count; i++)
        put(ROOT + 36 + 4 * i, tables[i], 4);
    seal(ROOT, "RSDT", 36 + 4 * count);
}

static u32 madt_bytes;

static void madt_entry(const u8 *entry, u32 bytes)
{
    memcpy(memory + MADT + madt_bytes, entry, bytes);
    madt_bytes += bytes;
    seal(MADT, "APIC", madt_bytes);
}
#define MADT_ENTRY(...) madt_entry((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

static int reset(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    for (u32 i = 0; i < copy_count; i++)
        free(copies[i]);
    copy_count = 0;
    put_rsdp(RSDP, 0, 0);
    put_root((const u32[]){MADT, FADT, HPET}, 3);
    madt_bytes = 44;
    put(MADT + 36, 0xfee00000, 4);
    seal(MADT, "APIC", madt_bytes);
    put(FADT + 40, DSDT, 4);
    put(FADT + 48, 0xb2, 4);
    put(FADT + 52, 0xf1, 1);
    put(FADT + 64, 0xb004, 4);
    put(FADT + 76, 0xb008, 4);
    seal(FADT, "FACP", 116);
    static const u8 s5[] = {0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00};
    memcpy(memory + DSDT + 100, s5, sizeof s5);
    seal(DSDT, "DSDT", 200);
    put(HPET + 44, 0xfed00000, 8);
    seal(HPET, "HPET", 56);
    return 0;
}

static void parse(void)
{
    assert_int_equal(acpi_parse(&reader, memory + RSDP, 20, &info, &why), STATUS_OK);
}

static void a_usual_pc(void **state)
{
    (void)state;
    MADT_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
    MADT_ENTRY(0, 8, 1, 2, 1, 0, 0, 0);
    MADT_ENTRY(0, 8, 2, 4, 0, 0, 0, 0);                     /* disabled */
    MADT_ENTRY(1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0); /* I/O APIC */
    MADT_ENTRY(2, 10, 0, 0, 2, 0, 0, 0, 0, 0);              /* IRQ 0 is GSI 2 */
    MADT_ENTRY(2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0);          /* IRQ 9: level, active low */
    MADT_ENTRY(4, 6, 0xff, 0, 0, 1);                        /* NMI on LINT1 */
    parse();
    assert_true(info.has_madt);
    assert_int_equal(info.cpu_count, 2);
    assert_int_equal(info.cpu_apic_ids[1], 2);
    assert_int_equal(info.max_apic_id, 2);
    assert_int_equal(info.lapic_address, 0xfee00000);
    assert_int_equal(info.ioapic_count, 1);
    assert_int_equal(info.ioapics[0].address, 0xfec00000);
    assert_int_equal(info.ioapics[0].gsi_base, 24);
    assert_int_equal(info.ioapics[0].id, 7);
    assert_int_equal(info.isa_irqs[0].gsi, 2);
    assert_false(info.isa_irqs[0].level);
    assert_int_equal(info.isa_irqs[9].gsi, 20);
    assert_true(info.isa_irqs[9].level && info.isa_irqs[9].active_low);
    assert_int_equal(info.isa_irqs[4].gsi, 4);
    assert_int_equal(info.nmi_lines, 1);
    assert_false(info.nmi_lint0);
    assert_int_equal(info.pm1a_control, 0xb004);
    assert_int_equal(info.pm1b_control, 0);
    assert_int_equal(info.pm_timer_port, 0xb008);
    assert_int_equal(info.pm_timer_bits, 24);
    assert_int_equal(info.smi_command_port, 0xb2);
    assert_int_equal(info.acpi_enable_value, 0xf1);
    assert_false(info.reset.usable);
    assert_true(info.s5.usable);
    assert_int_equal(info.s5.type_a, 5);
    assert_int_equal(info.s5.type_b, 1);
    assert_int_equal(info.hpet_address, 0xfed00000);
    assert_int_equal(info.tables_found, 5);
    assert_int_equal(info.tables_broken, 0);
}

static void x2apic_entries_and_duplicates(void **state)
{
    (void)state;
    MADT_ENTRY(0, 8, 0, 1, 1, 0, 0, 0);
    MADT_ENTRY(0, 8, 0, 0xff, 1, 0, 0, 0);                       /* 255 means "see the x2APIC entry" */
    MADT_ENTRY(9, 16, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0); /* the same CPU again */
    MADT_ENTRY(9, 16, 0, 0, 0x34, 0x12, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0);
    MADT_ENTRY(9, 16, 0, 0, 0x35, 0x12, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0); /* only "online capable" */
    MADT_ENTRY(10, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0);      /* NMI on LINT0 */
    MADT_ENTRY(5, 12, 0, 0, 0, 0, 0xe1, 0xfe, 1, 0, 0, 0);             /* 64-bit address */
    parse();
    assert_int_equal(info.cpu_count, 2);
    assert_int_equal(info.cpu_apic_ids[1], 0x1234);
    assert_int_equal(info.max_apic_id, 0x1234);
    assert_true(info.nmi_lint0);
    assert_int_equal(info.lapic_address, 0x1fee10000);
}

static void cpus_beyond_the_limit_are_counted(void **state)
{
    (void)state;
    for (u32 i = 0; i < CPU_MAX + 3; i++)
        MADT_ENTRY(0, 8, (u8)i, (u8)i, 1, 0, 0, 0);
    parse();
    assert_int_equal(info.cpu_count, CPU_MAX);
    assert_int_equal(info.cpus_left_out, 3);
    assert_int_equal(info.max_apic_id, CPU_MAX - 1);
}

static void too_many_ioapics_and_strange_overrides(void **state)
{
    (void)state;
    for (u32 i = 0; i < ACPI_MAX_IOAPICS + 2; i++)
        MADT_ENTRY(1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0);
    MADT_ENTRY(2, 10, 0, 16, 2, 0, 0, 0, 0, 0); /* no such ISA interrupt */
    MADT_ENTRY(2, 10, 1, 3, 2, 0, 0, 0, 0, 0);  /* not the ISA bus */
    parse();
    assert_int_equal(info.ioapic_count, ACPI_MAX_IOAPICS);
    assert_int_equal(info.isa_irqs[3].gsi, 3);
}

static void a_bad_madt_entry_ends_the_table(void **state)
{
    static const u8 bad[][4] = {
        {0,   0,   0, 0},
        {0,   1,   0, 0},
        {0,   7,   0, 0},
        {0,   200, 0, 0},
        {200, 0,   0, 0}
    };

    for (u32 i = 0; i < 5; i++) {
        reset(state);
        MADT_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
        madt_entry(bad[i], 4);
        MADT_ENTRY(0, 8, 1, 2, 1, 0, 0, 0);
        parse();
        assert_int_equal(info.cpu_count, 1);
        assert_int_equal(info.tables_broken, 1);
    }
}

static void an_entry_that_the_table_cuts(void **state)
{
    (void)state;
    MADT_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
    MADT_ENTRY(0, 8, 1, 2, 1, 0, 0, 0);
    for (u32 cut = 1; cut < 8; cut++) {
        seal(MADT, "APIC", madt_bytes - cut);
        parse();
        assert_int_equal(info.cpu_count, 1);
        assert_int_equal(info.tables_broken, 1);
    }
    for (u8 type = 0; type < 11; type++) { /* two bytes, then the table ends */
        reset(state);
        MADT_ENTRY(type, 2);
        parse();
        assert_int_equal(info.cpu_count + info.ioapic_count + info.nmi_lines, 0);
    }
    seal(MADT, "APIC", 36); /* not even the fixed part */
    parse();
    assert_int_equal(info.cpu_count, 0);
    assert_int_equal(info.lapic_address, 0);
}

static void unknown_madt_entries_are_passed_over(void **state)
{
    (void)state;
    MADT_ENTRY(127, 5, 1, 2, 3);
    MADT_ENTRY(3, 8, 0, 0, 0, 0, 0, 0);
    MADT_ENTRY(0, 12, 0, 6, 1, 0, 0, 0, 9, 9, 9, 9); /* longer than we know it */
    parse();
    assert_int_equal(info.cpu_count, 1);
    assert_int_equal(info.cpu_apic_ids[0], 6);
    assert_int_equal(info.tables_broken, 0);
}

static void a_wrong_checksum_costs_that_table_only(void **state)
{
    (void)state;
    MADT_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
    memory[FADT + 70]++;
    parse();
    assert_int_equal(info.pm1a_control, 0);
    assert_int_equal(info.cpu_count, 1);
    assert_int_equal(info.tables_broken, 1);
    assert_false(info.s5.usable);
}

static void tables_outside_memory(void **state)
{
    (void)state;
    put_root((const u32[]){0, MEMORY_BYTES - 10, 0xfffffff0, FADT}, 4);
    put(HPET + 4, MEMORY_BYTES, 4);
    put(FADT + 40, MEMORY_BYTES - 36, 4);
    memcpy(memory + MEMORY_BYTES - 36, "DSDT", 4);
    put(MEMORY_BYTES - 32, 37, 4);
    seal(FADT, "FACP", 116);
    parse();
    assert_int_equal(info.tables_broken, 4);
    assert_int_equal(info.pm1a_control, 0xb004);
}

static void a_length_that_is_absurd(void **state)
{
    static const u32 lengths[] = {0, 35, 0x7fffffff, 0xffffffff};

    (void)state;
    for (u32 i = 0; i < 4; i++) {
        put(HPET + 4, lengths[i], 4);
        parse();
        assert_int_equal(info.hpet_address, 0);
        assert_int_equal(info.tables_broken, 1);
    }
}

static void a_new_fadt(void **state)
{
    (void)state;
    put(FADT + 40, 0, 4);
    put(FADT + 64, 0, 4);
    put(FADT + 76, 0x12345, 4); /* no port */
    put(FADT + 112, 1u << 8 | 1u << 10, 4);
    put(FADT + 116, 1, 1);
    put(FADT + 120, 0xcf9, 8);
    put(FADT + 128, 6, 1);
    put(FADT + 140, DSDT, 8);
    put(FADT + 172, 1, 1);
    put(FADT + 176, 0x604, 8);
    put(FADT + 184, 0, 1); /* PM1b in memory: not for us */
    put(FADT + 188, 0x1000, 8);
    seal(FADT, "FACP", 244);
    parse();
    assert_int_equal(info.pm1a_control, 0x604);
    assert_int_equal(info.pm1b_control, 0);
    assert_int_equal(info.pm_timer_port, 0);
    assert_int_equal(info.pm_timer_bits, 32);
    assert_true(info.reset.usable && info.reset.is_port);
    assert_int_equal(info.reset.address, 0xcf9);
    assert_int_equal(info.reset.value, 6);
    assert_true(info.s5.usable);
}

static void assert_s5(const u8 *aml, u32 bytes, bool usable, u8 a, u8 b)
{
    memset(memory + DSDT + 36, 0, 200);
    memcpy(memory + DSDT + 40, aml, bytes);
    seal(DSDT, "DSDT", 40 + bytes); /* ends with the last byte given */
    parse();
    assert_int_equal(info.s5.usable, usable);
    assert_int_equal(info.s5.type_a, a);
    assert_int_equal(info.s5.type_b, b);
}
#define S5(usable, a, b, ...) assert_s5((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), usable, a, b)

static void forms_of_s5(void **state)
{
    (void)state;
    S5(true, 7, 7, 8, '\\', '_', 'S', '5', '_', 0x12, 6, 2, 0x0a, 7, 0x0a, 7);
    S5(true, 0, 0, 8, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0);
    S5(true, 3, 0, 8, '_', 'S', '5', '_', 0x12, 0x40, 6, 2, 0x0b, 3, 0, 0);            /* two-byte length, a word */
    S5(true, 2, 1, 8, '_', 'S', '5', '_', 0x12, 9, 2, 0x0c, 2, 0, 0, 0, 1);            /* a double word */
    S5(true, 5, 0, 8, '_', 'S', '5', '_', 0x12, 4, 1, 0x0a, 5);                        /* one element */
    S5(true, 5, 1, '_', 'S', '5', '_', 8, '_', 'S', '5', '_', 0x12, 5, 2, 0x0a, 5, 1); /* only mentioned before */
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x14, 6, 2, 0x0a, 7, 0x0a, 7);              /* a method */
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x12, 6, 0);
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x12, 6, 2, 0x0a);
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x12, 6, 2, 0x0a, 7);
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x12, 6, 2, 0x0e, 7, 7, 7, 7, 7, 7, 7, 7); /* a qword: nobody writes that */
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x12, 0xc0);
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x12);
    S5(false, 0, 0, 8, '_', 'S', '5', '_');
    S5(false, 0, 0, 8, '_', 'S', '5');
    S5(false, 0, 0, 8, '_', 'S', '5', '_', 0x12, 6, 1, 0x0a);
}

static void s5_in_an_ssdt(void **state)
{
    static const u8 s5[] = {8, '_', 'S', '5', '_', 0x12, 5, 2, 0x0a, 6, 1};

    (void)state;
    memset(memory + DSDT + 36, 0, 164);
    seal(DSDT, "DSDT", 200);
    memcpy(memory + SSDT + 50, s5, sizeof s5);
    seal(SSDT, "SSDT", 100);
    put_root((const u32[]){FADT, SSDT}, 2);
    parse();
    assert_true(info.s5.usable);
    assert_int_equal(info.s5.type_a, 6);
    assert_false(info.has_madt);
}

static void xsdt_is_preferred_and_rsdt_the_fallback(void **state)
{
    const u32 xsdt = 0x7000;

    (void)state;
    put(xsdt + 36, FADT, 8);
    put(xsdt + 44, 0x100000000ull, 8); /* beyond memory */
    seal(xsdt, "XSDT", 52);
    put_rsdp(RSDP, 2, xsdt);
    assert_int_equal(acpi_parse(&reader, memory + RSDP, 36, &info, &why), STATUS_OK);
    assert_int_equal(info.pm1a_control, 0xb004);
    assert_false(info.has_madt);
    assert_int_equal(info.tables_broken, 1);
    memory[xsdt + 40]++;
    assert_int_equal(acpi_parse(&reader, memory + RSDP, 36, &info, &why), STATUS_OK);
    assert_true(info.has_madt);
}

static void the_bios_area_is_searched(void **state)
{
    (void)state;
    assert_int_equal(acpi_parse(&reader, NULL, 0, &info, &why), STATUS_OK);
    assert_true(info.has_madt);

    /* A bad copy from the boot loader is as good as none. */
    u8 bad[20] = "RSD PTR x";
    assert_int_equal(acpi_parse(&reader, bad, sizeof bad, &info, &why), STATUS_OK);

    memset(memory + RSDP, 0, 36);
    assert_int_equal(acpi_parse(&reader, NULL, 0, &info, &why), STATUS_UNSUPPORTED);
    assert_int_equal(info.cpu_count, 0);
    assert_int_equal(info.isa_irqs[5].gsi, 5);

    put_rsdp(0xfffe0, 0, 0); /* its 36 bytes run out of the area */
    assert_int_equal(acpi_parse(&reader, NULL, 0, &info, &why), STATUS_UNSUPPORTED);

    put(0x40e, 0x9fc0, 2);
    put_rsdp(0x9fc00, 0, 0);
    assert_int_equal(acpi_parse(&reader, NULL, 0, &info, &why), STATUS_OK);
}

static void a_root_that_is_none(void **state)
{
    (void)state;
    memory[ROOT + 20]++;
    assert_int_equal(acpi_parse(&reader, memory + RSDP, 20, &info, &why), STATUS_UNSUPPORTED);
    seal(ROOT, "XXXX", 48);
    assert_int_equal(acpi_parse(&reader, memory + RSDP, 20, &info, &why), STATUS_UNSUPPORTED);
    seal(ROOT, "RSDT", 39); /* no whole entry */
    assert_int_equal(acpi_parse(&reader, memory + RSDP, 20, &info, &why), STATUS_OK);
    assert_false(info.has_madt);
}

#define EXTRA 0x7000u

/* A table with the entries from offset 36 on. */
static void put_extra(const char *signature, const u8 *body, u32 bytes)
{
    memcpy(memory + EXTRA + 36, body, bytes);
    seal(EXTRA, signature, 36 + bytes);
    put_root((const u32[]){MADT, FADT, HPET, EXTRA}, 4);
}
#define EXTRA_TABLE(signature, ...) put_extra(signature, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

#define DMAR_HEAD 38, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0

/* Two units, and between them a reserved memory region and what is not known. */
static void iommus(void **state)
{
    (void)state;
    EXTRA_TABLE("DMAR", DMAR_HEAD, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 2,
                0,                                                                       /**/
                1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /**/
                99, 0, 4, 0,                                                             /**/
                0, 0, 16, 0, 1, 0, 2, 0, 0, 0, 0, 0, 5, 0, 0, 0);
    parse();
    assert_int_equal(info.iommu_count, 2);
    assert_int_equal(info.iommus[0].address, 0xfed91000);
    assert_int_equal(info.iommus[0].segment, 0);
    assert_int_equal(info.iommus[1].address, 0x500000000);
    assert_int_equal(info.iommus[1].segment, 2);
    assert_int_equal(info.tables_broken, 0);
}

static void broken_iommus(void **state)
{
    static const u8 lengths[] = {0, 3, 15, 17, 200};

    (void)state;
    for (u32 i = 0; i < sizeof lengths; i++) {
        EXTRA_TABLE("DMAR", DMAR_HEAD, 0, 0, lengths[i], 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0);
        parse();
        assert_int_equal(info.iommu_count, 0);
        assert_int_equal(info.tables_broken, 1);
    }
}

static void pci_segments(void **state)
{
    (void)state;
    EXTRA_TABLE("MCFG", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0);
    parse();
    assert_int_equal(info.last_pci_segment, 0);
    EXTRA_TABLE("MCFG", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, /**/
                0, 0, 0, 0xd0, 0, 0, 0, 0, 1, 1, 0, 255, 0, 0, 0, 0, /* and half a range: */ 0, 0, 0, 0, 0, 0, 0, 0, 9,
                9);
    parse();
    assert_int_equal(info.last_pci_segment, 0x101);
}

#define SPCR(type, space, access, port, interrupts, irq)                                                               \
    EXTRA_TABLE("SPCR", type, 0, 0, 0, space, 8, 0, access, 0xff & (port), (port) >> 8, 0, 0, 0, 0, 0, 0, interrupts,  \
                irq)

static void serial_ports(void **state)
{
    (void)state;
    parse();
    assert_false(info.spcr.is_named);
    SPCR(0, 1, 1, 0x3e8, 3, 4);
    parse();
    assert_true(info.spcr.usable && info.spcr.is_port);
    assert_int_equal(info.spcr.address, 0x3e8);
    assert_int_equal(info.spcr.isa_irq, 4);
    SPCR(0x12, 0, 3, 0x8000, 2, 4); /* in memory, 32 bits wide, no ISA interrupt */
    parse();
    assert_true(info.spcr.usable && !info.spcr.is_port && info.spcr.wide);
    assert_int_equal(info.spcr.isa_irq, 0);
    SPCR(0, 0, 1, 0, 1, 4); /* switched off */
    parse();
    assert_false(info.spcr.is_named || info.spcr.usable);
    SPCR(3, 0, 3, 0x8000, 0, 0); /* an ARM PL011 */
    parse();
    assert_true(info.spcr.is_named && !info.spcr.usable);
    SPCR(0, 2, 1, 0x8000, 0, 0); /* in a PCI function's configuration space */
    parse();
    assert_false(info.spcr.usable);
}

static void put_aml(const u8 *bytes, u32 count)
{
    memset(memory + DSDT + 150, 0, 20);
    memcpy(memory + DSDT + 150, bytes, count);
    seal(DSDT, "DSDT", 200);
    parse();
}
#define AML(...) put_aml((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

static void pci_roots(void **state)
{
    (void)state;
    parse();
    assert_false(info.other_pci_roots);
    AML(0x08, '_', 'B', 'B', 'N', 0x00);
    assert_false(info.other_pci_roots);
    AML(0x08, '_', 'B', 'B', 'N', 0x0a, 0x00);
    assert_false(info.other_pci_roots);
    AML(0x08, '_', 'B', 'B', 'N', 0x0a, 0x80);
    assert_true(info.other_pci_roots);
    AML(0x08, '_', 'B', 'B', 'N', 0x01); /* One */
    assert_true(info.other_pci_roots);
    AML(0x14, 0x0a, '_', 'B', 'B', 'N', 0x00); /* a method */
    assert_true(info.other_pci_roots);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        T(a_usual_pc),
        T(x2apic_entries_and_duplicates),
        T(cpus_beyond_the_limit_are_counted),
        T(too_many_ioapics_and_strange_overrides),
        T(a_bad_madt_entry_ends_the_table),
        T(an_entry_that_the_table_cuts),
        T(unknown_madt_entries_are_passed_over),
        T(a_wrong_checksum_costs_that_table_only),
        T(tables_outside_memory),
        T(a_length_that_is_absurd),
        T(a_new_fadt),
        T(forms_of_s5),
        T(s5_in_an_ssdt),
        T(xsdt_is_preferred_and_rsdt_the_fallback),
        T(the_bios_area_is_searched),
        T(a_root_that_is_none),
        T(iommus),
        T(broken_iommus),
        T(pci_segments),
        T(serial_ports),
        T(pci_roots),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    reset(NULL);
    return failed;
}
