/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the RSDP down to plain data. Nothing is believed: a table's length is checked before a byte of it is used, each
 * field access is bounded by the table, each MADT entry by the table's end.
 * ACPI Specification 6.4, 5.2.5 "Root System Description Pointer (RSDP)", 5.2.8 "Root System Description Table (RSDT)",
 * 5.2.9 "Fixed ACPI Description Table (FADT)", 5.2.12 "Multiple APIC Description Table (MADT)".
 */
#include "arch/x86/acpi_table.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define RSDP_V1_BYTES    20u
#define RSDP_V2_BYTES    36u
#define TABLE_MAX_BYTES  MIB(8)
#define ROOT_MAX_ENTRIES 256u

#define BIOS_EBDA_POINTER 0x40eu
#define BIOS_EBDA_BYTES   1024u
#define BIOS_ROM_BASE     0xe0000u
#define BIOS_ROM_BYTES    0x20000u

struct parser {
    const struct acpi_reader *reader;
    struct acpi_info *info;
};

static u64 read_little_endian(const u8 *bytes, u32 count)
{
    u64 value = 0;
    for (u32 i = count; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

u64 acpi_field(const struct acpi_table *table, u32 offset, u32 count)
{
    if (offset > table->length || table->length - offset < count)
        return 0;
    return read_little_endian(table->bytes + offset, count);
}

static bool sums_to_zero(const u8 *bytes, u64 count)
{
    u8 sum = 0;
    for (u64 i = 0; i < count; i++)
        sum = (u8)(sum + bytes[i]);
    return sum == 0;
}

static const u8 *map(const struct parser *p, u64 address, u64 bytes)
{
    if (!address || address + bytes < address)
        return NULL;
    return p->reader->map(p->reader->context, address, bytes);
}

static bool has_signature(const struct acpi_table *table, const char *signature)
{
    return memcmp(table->bytes, signature, 4) == 0;
}

/* False, and counted, if the table cannot be read or does not add up. */
static bool open_table(const struct parser *p, u64 address, struct acpi_table *out)
{
    const u8 *header = map(p, address, ACPI_HEADER_BYTES);
    u64 length = header ? read_little_endian(header + 4, 4) : 0;

    if (length >= ACPI_HEADER_BYTES && length <= TABLE_MAX_BYTES) {
        out->bytes = map(p, address, length);
        out->length = (u32)length;
        if (out->bytes && sums_to_zero(out->bytes, length)) {
            p->info->tables_found++;
            return true;
        }
    }
    p->info->tables_broken++;
    return false;
}

static void add_cpu(struct acpi_info *info, u32 apic_id)
{
    for (u32 i = 0; i < info->cpu_count; i++)
        if (info->cpu_apic_ids[i] == apic_id)
            return; /* firmware may list a CPU both as local APIC and as x2APIC */
    if (info->cpu_count == CPU_MAX) {
        info->cpus_left_out++;
        return;
    }
    info->cpu_apic_ids[info->cpu_count++] = apic_id;
    info->max_apic_id = apic_id > info->max_apic_id ? apic_id : info->max_apic_id;
}

static void add_ioapic(struct acpi_info *info, const u8 *entry)
{
    if (info->ioapic_count == ACPI_MAX_IOAPICS)
        return;
    info->ioapics[info->ioapic_count++] = (struct acpi_ioapic){
        .id = entry[2],
        .address = read_little_endian(entry + 4, 4),
        .gsi_base = (u32)read_little_endian(entry + 8, 4),
    };
}

/* Flags: 5.2.12.5 "Interrupt Source Override Structure", table "MPS INTI Flags". 0 means "as the bus has it": ISA's
 * way. */
static void add_override(struct acpi_info *info, const u8 *entry)
{
    u32 flags = (u32)read_little_endian(entry + 8, 2);

    if (entry[2] != 0 || entry[3] >= ACPI_ISA_IRQS)
        return;
    info->isa_irqs[entry[3]] = (struct acpi_isa_irq){
        .gsi = (u32)read_little_endian(entry + 4, 4),
        .active_low = (flags & 3) == 3,
        .level = (flags >> 2 & 3) == 3,
    };
}

static void add_nmi_line(struct acpi_info *info, u8 lint)
{
    info->nmi_lines++;
    info->nmi_lint0 = info->nmi_lint0 || lint == 0;
}

/* 5.2.12.2 to 5.2.12.13: type, shortest valid length. */
enum madt_type {
    MADT_LOCAL_APIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LOCAL_NMI = 4,
    MADT_LOCAL_ADDRESS = 5,
    MADT_X2APIC = 9,
    MADT_X2APIC_NMI = 10,
    MADT_TYPES = 11
};
static const u8 madt_min_bytes[MADT_TYPES] = {
    [MADT_LOCAL_APIC] = 8,     [MADT_IOAPIC] = 12, [MADT_OVERRIDE] = 10,   [MADT_LOCAL_NMI] = 6,
    [MADT_LOCAL_ADDRESS] = 12, [MADT_X2APIC] = 16, [MADT_X2APIC_NMI] = 12,
};

static void parse_madt_entry(struct acpi_info *info, const u8 *entry)
{
    switch (entry[0]) {
    case MADT_LOCAL_APIC:
        if ((entry[4] & 1) && entry[3] != 0xff)
            add_cpu(info, entry[3]);
        break;
    case MADT_X2APIC:
        if (entry[8] & 1)
            add_cpu(info, (u32)read_little_endian(entry + 4, 4));
        break;
    case MADT_IOAPIC:
        add_ioapic(info, entry);
        break;
    case MADT_OVERRIDE:
        add_override(info, entry);
        break;
    case MADT_LOCAL_NMI:
        add_nmi_line(info, entry[5]);
        break;
    case MADT_X2APIC_NMI:
        add_nmi_line(info, entry[8]);
        break;
    case MADT_LOCAL_ADDRESS:
        info->lapic_address = read_little_endian(entry + 4, 8);
        break;
    default: /* kinds that the host has no use for */
        break;
    }
}

static void parse_madt(struct acpi_info *info, const struct acpi_table *madt)
{
    u32 at = 44;

    if (info->has_madt)
        return; /* the first one counts */
    info->has_madt = true;
    info->lapic_address = acpi_field(madt, 36, 4);
    while (at < madt->length) {
        const u8 *entry = madt->bytes + at;
        u32 left = madt->length - at;
        u32 length = left >= 2 ? entry[1] : 0;
        u32 min = left >= 2 && entry[0] < MADT_TYPES ? madt_min_bytes[entry[0]] : 0;

        if (length < 2 || length > left || length < min) {
            info->tables_broken++; /* what came before it stays */
            return;
        }
        parse_madt_entry(info, entry);
        at += length;
    }
}

/* A port from its 32-bit field, or else from its Generic Address Structure (5.2.3.2) in newer tables. 0: none. */
static u16 fadt_port(const struct acpi_table *fadt, u32 offset, u32 gas_offset)
{
    u64 port = acpi_field(fadt, offset, 4);

    if (!port && acpi_field(fadt, gas_offset, 1) == ACPI_SPACE_PORT)
        port = acpi_field(fadt, gas_offset + 4, 8);
    return port <= 0xffff ? (u16)port : 0;
}

/*
 * \_S5 without an AML interpreter: Name (_S5_, Package () {a, b, ...}) with a and b constants, as every firmware writes
 * it. ACPI Specification 6.4, 20.2.5 "Term Objects Encoding": NameOp 0x08, PackageOp 0x12, BytePrefix 0x0A, WordPrefix
 * 0x0B, DWordPrefix 0x0C, ZeroOp 0, OneOp 1.
 */
static bool read_constant(const struct acpi_table *aml, u32 *at, u8 *value)
{
    u64 op = acpi_field(aml, *at, 1);
    u32 bytes = op == 0x0a ? 1 : op == 0x0b ? 2 : op == 0x0c ? 4 : 0;

    if (*at >= aml->length || (bytes == 0 && op > 1) || aml->length - *at < 1 + bytes)
        return false;
    *value = (u8)(bytes ? acpi_field(aml, *at + 1, bytes) : op);
    *at += 1 + bytes;
    return true;
}

static bool parse_sleep_package(const struct acpi_table *aml, u32 at, struct acpi_sleep *out)
{
    u8 a = 0, b = 0;

    if (acpi_field(aml, at, 1) != 0x12)
        return false;
    at++;
    at += 1 + (u32)(acpi_field(aml, at, 1) >> 6); /* PkgLength: its first byte says how many more belong to it */
    u64 elements = acpi_field(aml, at, 1);
    at++;
    if (elements < 1 || !read_constant(aml, &at, &a))
        return false;
    if (elements >= 2 && !read_constant(aml, &at, &b))
        return false;
    *out = (struct acpi_sleep){.usable = true, .type_a = a & 7, .type_b = b & 7};
    return true;
}

static void find_sleep(struct acpi_info *info, const struct acpi_table *aml)
{
    for (u32 at = ACPI_HEADER_BYTES + 1; !info->s5.usable && at + 4 < aml->length; at++) {
        const u8 *name = aml->bytes + at;
        bool named = name[-1] == 0x08 || (name[-1] == '\\' && name[-2] == 0x08);
        if (named && memcmp(name, "_S5_", 4) == 0)
            (void)parse_sleep_package(aml, at + 4, &info->s5);
    }
}

static void parse_aml(struct acpi_info *info, const struct acpi_table *aml)
{
    find_sleep(info, aml);
    acpi_find_roots(info, aml);
}

static void parse_reset(struct acpi_info *info, const struct acpi_table *fadt)
{
    u64 space = acpi_field(fadt, 116, 1);
    u64 address = acpi_field(fadt, 120, 8);

    if (!(acpi_field(fadt, 112, 4) & BIT(10)) || !address)
        return;
    if (space != ACPI_SPACE_MEMORY && (space != ACPI_SPACE_PORT || address > 0xffff))
        return;
    info->reset = (struct acpi_reset){
        .usable = true, .is_port = space == ACPI_SPACE_PORT, .address = address, .value = (u8)acpi_field(fadt, 128, 1)};
}

static void parse_fadt(const struct parser *p, const struct acpi_table *fadt)
{
    struct acpi_info *info = p->info;
    struct acpi_table dsdt;
    u64 dsdt_address = acpi_field(fadt, 140, 8);

    info->smi_command_port = fadt_port(fadt, 48, ~0u);
    info->acpi_enable_value = (u8)acpi_field(fadt, 52, 1);
    info->pm1a_control = fadt_port(fadt, 64, 172);
    info->pm1b_control = fadt_port(fadt, 68, 184);
    info->pm_timer_port = fadt_port(fadt, 76, 208);
    info->pm_timer_bits = acpi_field(fadt, 112, 4) & BIT(8) ? 32 : 24;
    parse_reset(info, fadt);
    if (!dsdt_address)
        dsdt_address = acpi_field(fadt, 40, 4);
    if (open_table(p, dsdt_address, &dsdt) && has_signature(&dsdt, "DSDT"))
        parse_aml(info, &dsdt);
}

/* IA-PC HPET Specification 1.0a, 3.2.4 "The ACPI 2.0 HPET Description Table (HPET)" */
static void parse_hpet(struct acpi_info *info, const struct acpi_table *hpet)
{
    if (!info->hpet_address && acpi_field(hpet, 40, 1) == ACPI_SPACE_MEMORY)
        info->hpet_address = acpi_field(hpet, 44, 8);
}

static void parse_root(const struct parser *p, const struct acpi_table *root, u32 entry_bytes)
{
    u32 entries = (root->length - ACPI_HEADER_BYTES) / entry_bytes;

    for (u32 i = 0; i < entries && i < ROOT_MAX_ENTRIES; i++) {
        struct acpi_table table;
        if (!open_table(p, acpi_field(root, ACPI_HEADER_BYTES + i * entry_bytes, entry_bytes), &table))
            continue;
        if (has_signature(&table, "APIC"))
            parse_madt(p->info, &table);
        else if (has_signature(&table, "FACP"))
            parse_fadt(p, &table);
        else if (has_signature(&table, "HPET"))
            parse_hpet(p->info, &table);
        else if (has_signature(&table, "SSDT"))
            parse_aml(p->info, &table);
        else if (has_signature(&table, "DMAR"))
            acpi_take_dmar(p->info, &table);
        else if (has_signature(&table, "MCFG"))
            acpi_take_mcfg(p->info, &table);
        else if (has_signature(&table, "SPCR"))
            acpi_take_spcr(p->info, &table);
    }
}

static bool rsdp_is_valid(const u8 *rsdp, u64 bytes)
{
    if (bytes < RSDP_V1_BYTES || memcmp(rsdp, "RSD PTR ", 8) || !sums_to_zero(rsdp, RSDP_V1_BYTES))
        return false;
    return bytes < RSDP_V2_BYTES || rsdp[15] < 2 || sums_to_zero(rsdp, RSDP_V2_BYTES);
}

/* On 16-byte boundaries: 5.2.5.1 "Finding the RSDP on IA-PC Systems". */
static const u8 *search_rsdp_in(const struct parser *p, u64 base, u64 bytes)
{
    const u8 *area = map(p, base, bytes);

    for (u64 at = 0; area && at + RSDP_V2_BYTES <= bytes; at += 16)
        if (rsdp_is_valid(area + at, RSDP_V2_BYTES))
            return area + at;
    return NULL;
}

static const u8 *search_rsdp(const struct parser *p)
{
    const u8 *pointer = map(p, BIOS_EBDA_POINTER, 2);
    u64 ebda = pointer ? read_little_endian(pointer, 2) << 4 : 0;
    const u8 *found = NULL;

    if (ebda >= KIB(256) && ebda < KIB(640))
        found = search_rsdp_in(p, ebda, BIOS_EBDA_BYTES);
    return found ? found : search_rsdp_in(p, BIOS_ROM_BASE, BIOS_ROM_BYTES);
}

static bool open_root(const struct parser *p, const u8 *rsdp, u64 rsdp_bytes, struct acpi_table *root, u32 *entry_bytes)
{
    *entry_bytes = 8;
    if (rsdp_bytes >= RSDP_V2_BYTES && rsdp[15] >= 2 && open_table(p, read_little_endian(rsdp + 24, 8), root) &&
        has_signature(root, "XSDT"))
        return true;
    *entry_bytes = 4;
    return open_table(p, read_little_endian(rsdp + 16, 4), root) && has_signature(root, "RSDT");
}

enum status acpi_parse(const struct acpi_reader *reader, const void *rsdp, size_t rsdp_bytes, struct acpi_info *out,
                       struct refusal *why)
{
    struct parser p = {reader, out};
    struct acpi_table root;
    u32 entry_bytes = 0;

    memset(out, 0, sizeof *out);
    for (u32 i = 0; i < ACPI_ISA_IRQS; i++)
        out->isa_irqs[i].gsi = i;
    if (!rsdp || !rsdp_is_valid(rsdp, rsdp_bytes)) {
        rsdp = search_rsdp(&p);
        rsdp_bytes = RSDP_V2_BYTES;
    }
    if (!rsdp)
        return refuse(why, STATUS_UNSUPPORTED,
                      "no ACPI root pointer, neither from the boot loader nor in the BIOS area");
    if (!open_root(&p, rsdp, rsdp_bytes, &root, &entry_bytes))
        return refuse(why, STATUS_UNSUPPORTED, "the ACPI root table is unreadable or its checksum is wrong");
    parse_root(&p, &root, entry_bytes);
    return STATUS_OK;
}
