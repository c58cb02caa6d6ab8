/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SMBIOS: the entry points of versions 2 and 3, and one table of structures for both, in the BIOS's own 64 KiB. Pure
 * but for guest memory, CPUID and the clock's frequency.
 * DMTF DSP0134, System Management BIOS (SMBIOS) Reference Specification 3.0.0, 5.2 "Table convention", 6.2 "Required
 * structures and data", 7 "Structure definitions".
 */
#include "kernel/vm/smbios.h"
#include "arch/x86/cpu.h"
#include "kernel/clock.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"
#include "kernel/vm/firmware.h"

#define AT_ENTRY_2    (GUEST_BIOS_SMBIOS + 0x00)
#define AT_ENTRY_3    (GUEST_BIOS_SMBIOS + 0x20)
#define AT_STRUCTURES (GUEST_BIOS_SMBIOS + 0x40)
#define BYTES_MAX     1024u

#define MAKER            "Rootlet"
#define FIRMWARE_VERSION "1.0"
#define FIRMWARE_DATE    "01/01/2026"
#define NOT_PROVIDED     0xfffeu
#define UNKNOWN          0xffffu
#define BRAND_BYTES      48u

enum type {
    TYPE_FIRMWARE = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MEMORY_RANGE = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127
};

/* Handles; there is one of each type but of memory ranges. */
#define HANDLE(type) ((u16)((type) << 8))

struct PACKED header {
    u8 type, length;
    u16 handle;
};

struct PACKED firmware {
    struct header header;
    u8 vendor, version;
    u16 segment;
    u8 date, rom_size;
    u64 characteristics;
    u8 extension[2];
    u8 major, minor, controller_major, controller_minor;
};
_Static_assert(sizeof(struct firmware) == 0x18, "type 0 of version 2.4");

struct PACKED system {
    struct header header;
    u8 maker, product, version, serial;
    u8 uuid[GUEST_UUID_BYTES];
    u8 wake_up, sku, family;
};
_Static_assert(sizeof(struct system) == 0x1b, "type 1 of version 2.4");

struct PACKED chassis {
    struct header header;
    u8 maker, type, version, serial, asset_tag;
    u8 boot_up, power, thermal, security;
    u32 oem;
    u8 height, cords, elements, element_bytes, sku;
};
_Static_assert(sizeof(struct chassis) == 0x16, "type 3 of version 2.7");

struct PACKED processor {
    struct header header;
    u8 socket, type, family, maker;
    u32 signature, features;
    u8 version, voltage;
    u16 clock_mhz, max_mhz, mhz;
    u8 status, upgrade;
    u16 caches[3];
    u8 serial, asset_tag, part;
    u8 cores, cores_enabled, threads;
    u16 characteristics, family_2, cores_2, cores_enabled_2, threads_2;
};
_Static_assert(sizeof(struct processor) == 0x30, "type 4 of version 3.0");

struct PACKED memory_array {
    struct header header;
    u8 location, use, correction;
    u32 kib;
    u16 error_handle, devices;
    u64 extended_bytes;
};
_Static_assert(sizeof(struct memory_array) == 0x17, "type 16 of version 2.7");

struct PACKED memory_device {
    struct header header;
    u16 array, error_handle, total_width, data_width, size;
    u8 form_factor, set, locator, bank, type;
    u16 detail, speed;
    u8 maker, serial, asset_tag, part, attributes;
    u32 extended_mib;
    u16 clock_speed, voltages[3];
};
_Static_assert(sizeof(struct memory_device) == 0x28, "type 17 of version 2.8");

struct PACKED memory_range {
    struct header header;
    u32 first_kib, last_kib;
    u16 array;
    u8 width;
    u64 extended[2];
};
_Static_assert(sizeof(struct memory_range) == 0x1f, "type 19 of version 2.7");

struct PACKED boot {
    struct header header;
    u8 reserved[6], status;
};
_Static_assert(sizeof(struct boot) == 0x0b, "type 32");

struct PACKED entry_2 {
    char anchor[4];
    u8 checksum, length, major, minor;
    u16 longest;
    u8 revision, formatted[5];
    char intermediate_anchor[5];
    u8 intermediate_checksum;
    u16 table_bytes;
    u32 table;
    u16 count;
    u8 bcd_version;
};
_Static_assert(sizeof(struct entry_2) == 0x1f, "the entry point of version 2.1");

struct PACKED entry_3 {
    char anchor[5];
    u8 checksum, length, major, minor, docrev, revision, reserved;
    u32 table_bytes;
    u64 table;
};
_Static_assert(sizeof(struct entry_3) == 0x18, "the entry point of version 3.0");

struct table {
    u8 bytes[BYTES_MAX];
    u16 used, longest, count;
};

static void append_bytes(struct table *table, const void *from, u64 bytes)
{
    memcpy(table->bytes + table->used, from, bytes);
    table->used = (u16)(table->used + bytes);
}

/* A structure and its strings, which end by NULL; strings are numbered from 1. */
static void append(struct table *table, const struct header *header, const char *const *strings)
{
    u16 first = table->used;

    append_bytes(table, header, header->length);
    for (u32 i = 0; strings[i]; i++)
        append_bytes(table, strings[i], string_length(strings[i]) + 1);
    append_bytes(table, "\0", strings[0] ? 1 : 2);
    table->count++;
    if (table->longest < table->used - first)
        table->longest = (u16)(table->used - first);
}

/* FNV-1a, as of draft-eastlake-fnv. */
static u64 hash(u64 value, const char *text)
{
    for (; *text; text++)
        value = (value ^ (u8)*text) * 0x100000001b3;
    return value;
}

/* RFC 9562, 5.8 "UUID Version 8": the bits other than version and variant are ours. */
void guest_smbios_uuid(const char *name, u8 uuid[GUEST_UUID_BYTES])
{
    u64 high = hash(0xcbf29ce484222325, name);
    u64 low = hash(high ^ 0xcbf29ce484222325, "rootlet");

    memcpy(uuid, &high, 8);
    memcpy(uuid + 8, &low, 8);
    uuid[7] = (u8)((uuid[7] & 0x0f) | 0x80); /* the third field's high byte: it is little-endian */
    uuid[8] = (u8)((uuid[8] & 0x3f) | 0x80);
}

static void append_machine(struct table *table, const struct vm_spec *spec)
{
    struct firmware firmware = {
        .header = {TYPE_FIRMWARE, sizeof firmware, HANDLE(TYPE_FIRMWARE)},
        .vendor = 1,
        .version = 2,
        .segment = 0xe000,
        .date = 3,
        .rom_size = GUEST_FIRMWARE_BYTES / KIB(64) - 1,
        .characteristics = BIT(4) | BIT(7), /* ISA, PCI */
        .extension[0] = BIT(0), /* ACPI */
        .extension[1] = spec->stealth ? 0 : BIT(4), /* a virtual machine */
        .major = 1,
        .controller_major = 0xff,
        .controller_minor = 0xff
    };
    struct system system = {
        .header = {TYPE_SYSTEM, sizeof system, HANDLE(TYPE_SYSTEM)},
        .maker = 1,
        .product = 2,
        .version = 3,
        .serial = 2,
        .wake_up = 6, /* power switch */
        .family = 4
    };
    struct chassis chassis = {
        .header = {TYPE_CHASSIS, sizeof chassis, HANDLE(TYPE_CHASSIS)},
        .maker = 1,
        .type = 1, /* other */
        .serial = 2,
        .boot_up = 3, /* these three: safe */
        .power = 3,
        .thermal = 3,
        .security = 3
    }; /* none */

    guest_smbios_uuid(spec->name, system.uuid);
    append(table, &firmware.header, (const char *[]){MAKER, FIRMWARE_VERSION, FIRMWARE_DATE, NULL});
    append(table, &system.header, (const char *[]){MAKER, spec->name, FIRMWARE_VERSION, "Rootlet VM", NULL});
    append(table, &chassis.header, (const char *[]){MAKER, spec->name, NULL});
}

/* CPUID's name of the CPU without the blanks around it, "" if it has none. */
static const char *find_brand(char text[BRAND_BYTES + 1])
{
    u32 length = 0;

    text[0] = 0;
    if (cpu_cpuid(0x80000000, 0).eax < 0x80000004)
        return text;
    for (u32 i = 0; i < 3; i++) {
        struct cpuid_result r = cpu_cpuid(0x80000002 + i, 0);
        memcpy(text + 16 * i, &r, 16);
    }
    text[BRAND_BYTES] = 0;
    while (*text == ' ')
        text++;
    length = (u32)string_length(text);
    while (length && text[length - 1] == ' ')
        text[--length] = 0;
    return text;
}

/* One package, of which each vCPU is a core: as CPUID says. */
static void append_processor(struct table *table, u32 cpus)
{
    char vendor[13] = {0}, brand[BRAND_BYTES + 1];
    struct cpuid_result zero = cpu_cpuid(0, 0), one = cpu_cpuid(1, 0);
    u16 mhz = (u16)((clock_tsc_hz() + 500000) / 1000000);
    struct processor processor = {
        .header = {TYPE_PROCESSOR, sizeof processor, HANDLE(TYPE_PROCESSOR)},
        .socket = 1,
        .type = 3, /* central processor */
        .family = 1, /* other */
        .maker = 2,
        .signature = one.eax,
        .features = one.edx,
        .max_mhz = mhz,
        .mhz = mhz,
        .status = 0x41, /* populated, enabled */
        .upgrade = 1, /* other */
        .caches = {UNKNOWN,        UNKNOWN,          UNKNOWN               },
        .cores = (u8)cpus,
        .cores_enabled = (u8)cpus,
        .threads = (u8)cpus,
        .characteristics = (u16)(BIT(2) | (cpus > 1 ? BIT(3) : 0)), /* 64-bit, cores */
        .family_2 = 1,
        .cores_2 = (u16)cpus,
        .cores_enabled_2 = (u16)cpus,
        .threads_2 = (u16)cpus
    };

    memcpy(vendor, &zero.ebx, 4);
    memcpy(vendor + 4, &zero.edx, 4);
    memcpy(vendor + 8, &zero.ecx, 4);
    const char *name = find_brand(brand);
    processor.version = *name ? 3 : 0;
    append(table, &processor.header,
           (const char *[]){"CPU 0", *vendor ? vendor : "unknown", *name ? name : NULL, NULL});
}

static void append_range(struct table *table, u32 index, u64 base, u64 end)
{
    struct memory_range range = {
        .header = {TYPE_MEMORY_RANGE, sizeof range, (u16)(HANDLE(TYPE_MEMORY_RANGE) + index)},
        .first_kib = (u32)(base >> 10),
        .last_kib = (u32)((end >> 10) - 1),
        .array = HANDLE(TYPE_MEMORY_ARRAY),
        .width = 1
    };

    append(table, &range.header, (const char *[]){NULL});
}

/* Whole MiB, or KiB with bit 15, or 0x7fff and the extended size: 7.18.4 "Memory Device - Size". */
static void set_size(struct memory_device *device, u64 bytes)
{
    if (bytes % MIB(1) && bytes < MIB(32))
        device->size = (u16)(bytes >> 10 | 0x8000);
    else if (bytes < GIB(32) - MIB(1))
        device->size = (u16)(bytes >> 20);
    else {
        device->size = 0x7fff;
        device->extended_mib = (u32)(bytes >> 20);
    }
}

static void append_memory(struct table *table, u64 bytes)
{
    struct memory_array array = {
        .header = {TYPE_MEMORY_ARRAY, sizeof array, HANDLE(TYPE_MEMORY_ARRAY)},
        .location = 1, /* other */
        .use = 3, /* system memory */
        .correction = 3, /* none */
        .kib = (u32)(bytes >> 10),
        .error_handle = NOT_PROVIDED,
        .devices = 1
    };
    struct memory_device device = {
        .header = {TYPE_MEMORY_DEVICE, sizeof device, HANDLE(TYPE_MEMORY_DEVICE)},
        .array = HANDLE(TYPE_MEMORY_ARRAY),
        .error_handle = NOT_PROVIDED,
        .total_width = UNKNOWN,
        .data_width = UNKNOWN,
        .form_factor = 9, /* DIMM */
        .locator = 1,
        .type = 7, /* RAM */
        .detail = BIT(1)  /* other */
    };
    u64 low = bytes < GUEST_LOW_RAM_TOP_MAX ? bytes : GUEST_LOW_RAM_TOP_MAX;

    set_size(&device, bytes);
    append(table, &array.header, (const char *[]){NULL});
    append(table, &device.header, (const char *[]){"DIMM 0", NULL});
    append_range(table, 0, 0, low);
    if (bytes > low)
        append_range(table, 1, GIB(4), GIB(4) + bytes - low);
}

static void append_end(struct table *table)
{
    const struct boot boot = {
        .header = {TYPE_BOOT, sizeof boot, HANDLE(TYPE_BOOT)}
    }; /* no error */
    const struct header end = {TYPE_END, sizeof end, HANDLE(TYPE_END)};

    append(table, &boot.header, (const char *[]){NULL});
    append(table, &end, (const char *[]){NULL});
}

static enum status write_entries(const struct guest_memory *memory, const struct table *table)
{
    struct entry_2 two = {.anchor = "_SM_",
                          .length = sizeof two,
                          .major = 2,
                          .minor = 8,
                          .longest = table->longest,
                          .intermediate_anchor = "_DMI_",
                          .table_bytes = table->used,
                          .table = AT_STRUCTURES,
                          .count = table->count,
                          .bcd_version = 0x28};
    struct entry_3 three = {.anchor = "_SM3_",
                            .length = sizeof three,
                            .major = 3,
                            .revision = 1,
                            .table_bytes = table->used,
                            .table = AT_STRUCTURES};

    two.intermediate_checksum = bytes_checksum(two.intermediate_anchor, sizeof two - 16);
    two.checksum = bytes_checksum(&two, sizeof two);
    three.checksum = bytes_checksum(&three, sizeof three);
    enum status status = guest_memory_write(memory, gpa(AT_ENTRY_2), &two, sizeof two);
    return status == STATUS_OK ? guest_memory_write(memory, gpa(AT_ENTRY_3), &three, sizeof three) : status;
}

enum status guest_smbios_install(const struct guest_memory *memory, const struct vm_spec *spec)
{
    struct table table = {.used = 0};

    append_machine(&table, spec);
    append_processor(&table, spec->cpus);
    append_memory(&table, spec->mem_bytes);
    append_end(&table);
    enum status status = guest_memory_write(memory, gpa(AT_STRUCTURES), table.bytes, table.used);
    return status == STATUS_OK ? write_entries(memory, &table) : status;
}
