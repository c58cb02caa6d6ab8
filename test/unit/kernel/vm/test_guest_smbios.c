/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests' SMBIOS structures, as dmidecode reads them: it names what is inconsistent or out of range.
 * links: kernel/vm/smbios.c kernel/vm/memory.c kernel/vm/layer.c test/fake/host_memory.c test/fake/cpu.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "kernel/clock.h"
#include "kernel/vm/smbios.h"
#include "test/fake/cpu.h"
#include "test/fake/host_memory.h"

#define TABLE_IN_DUMP 32u /* of dmidecode: the entry point, then the table */

static struct guest_memory memory;
static struct refusal why;
static u8 rom[KIB(64)]; /* from 0xf0000 */
static char text[32768];

u64 clock_tsc_hz(void)
{
    return 2099999999;
}

static void set_brand(const char *name)
{
    struct cpuid_result r;

    fake_cpuid_set(0x80000000, 0, (struct cpuid_result){0x80000008, 0, 0, 0});
    for (u32 i = 0; i < 3; i++) {
        char part[16] = {0};
        for (u32 j = 0; j < 16 && 16 * i + j < strlen(name); j++)
            part[j] = name[16 * i + j];
        memcpy(&r, part, 16);
        fake_cpuid_set(0x80000002 + i, 0, r);
    }
}

static int set_up(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(4));
    fake_cpu_reset();
    fake_cpuid_set(0, 0, (struct cpuid_result){0x16, 0x756e6547, 0x6c65746e, 0x49656e69});
    fake_cpuid_set(1, 0, (struct cpuid_result){0x50654, 0, 0, 0x0f8bfbff});
    set_brand("  Fake(R) CPU @ 2.10GHz   ");
    assert_int_equal(guest_memory_allocate(&memory, MIB(2), &why), STATUS_OK);
    return 0;
}

static const u8 *install(const char *name, u64 mem_bytes, u32 cpus, const char *anchor)
{
    struct vm_spec spec = {.mem_bytes = mem_bytes, .cpus = cpus};

    snprintf(spec.name, sizeof spec.name, "%s", name);
    assert_int_equal(guest_smbios_install(&memory, &spec), STATUS_OK);
    assert_int_equal(guest_memory_read(&memory, gpa(0xf0000), rom, sizeof rom), STATUS_OK);
    for (u32 at = 0; at < sizeof rom; at += 16)
        if (memcmp(rom + at, anchor, strlen(anchor)) == 0)
            return rom + at;
    fail();
    return NULL;
}

static void assert_sum(const u8 *bytes, u32 count)
{
    u8 sum = 0;
    while (count--)
        sum += bytes[count];
    assert_int_equal(sum, 0);
}

static void set_checksum(u8 *bytes, u32 count, u32 at)
{
    u8 sum = 0;
    bytes[at] = 0;
    while (count--)
        sum += bytes[count];
    bytes[at] = (u8)(0 - sum);
}

/* What dmidecode prints of the dump that has this entry point and the table that it points to. */
static void decode(const u8 *entry)
{
    bool three = entry[3] == '3';
    u8 dump[TABLE_IN_DUMP + 4096] = {0};
    u32 bytes = 0, address = 0;
    char command[128];

    memcpy(dump, entry, three ? 0x18 : 0x1f);
    memcpy(&bytes, entry + (three ? 0x0c : 0x16), three ? 4 : 2);
    memcpy(&address, entry + (three ? 0x10 : 0x18), 4);
    assert_sum(entry, three ? 0x18 : 0x1f);
    if (!three)
        assert_sum(entry + 0x10, 0xf);
    memcpy(dump + TABLE_IN_DUMP, rom + (address - 0xf0000), bytes);
    memcpy(dump + (three ? 0x10 : 0x18), &(u32){TABLE_IN_DUMP}, 4);
    if (!three)
        set_checksum(dump + 0x10, 0xf, 5);
    set_checksum(dump, three ? 0x18 : 0x1f, three ? 5 : 4);
    FILE *out = tmpfile();
    assert_int_equal(fwrite(dump, 1, TABLE_IN_DUMP + bytes, out), TABLE_IN_DUMP + bytes);
    fflush(out);
    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin dmidecode --from-dump /proc/%d/fd/%d 2>&1", getpid(),
             fileno(out));
    FILE *in = popen(command, "r");
    text[fread(text, 1, sizeof text - 1, in)] = 0;
    assert_int_equal(pclose(in), 0);
    fclose(out);
}

static void expect(const char *words)
{
    if (!strstr(text, words))
        fail_msg("no \"%s\" in:\n%s", words, text);
}

static void expect_not(const char *words)
{
    if (strstr(text, words))
        fail_msg("\"%s\" in:\n%s", words, text);
}

static void expect_sound(void)
{
    static const char *const complaints[] = {"OUT OF SPEC", "Wrong",     "wrong",     "Invalid",
                                             "invalid",     "BROKEN",    "TRUNCATED", "nconsisten",
                                             "<BAD INDEX>", "No SMBIOS", "mismatch"};

    for (size_t i = 0; i < ARRAY_SIZE(complaints); i++)
        expect_not(complaints[i]);
}

static void test_both_entries(void **state)
{
    static const char *const anchors[] = {"_SM_", "_SM3_"}, *const present[] = {"SMBIOS 2.8", "SMBIOS 3.0"};

    (void)state;
    for (u32 i = 0; i < 2; i++) {
        decode(install("debian", MIB(256), 2, anchors[i]));
        expect_sound();
        expect(present[i]);
        expect("Vendor: Rootlet");
        expect("System is a virtual machine");
        expect("ACPI is supported");
        expect("Product Name: debian");
        expect("Serial Number: debian");
        expect("ID: 54 06 05 00 FF FB 8B 0F");
        expect("Manufacturer: GenuineIntel");
        expect("Version: Fake(R) CPU @ 2.10GHz\n");
        expect("Current Speed: 2100 MHz");
        expect("Core Count: 2");
        expect("Maximum Capacity: 256 MB");
        expect("Size: 256 MB");
        expect("Range Size: 256 MB");
        expect("Starting Address: 0x00000000000");
        expect("Status: No errors detected");
        expect("End Of Table");
        if (i == 0)
            expect("9 structures occupying");
    }
}

/* The sizes' several forms, and memory on both sides of the hole below 4 GiB. */
static void test_memory_sizes(void **state)
{
    (void)state;
    decode(install("vm", KIB(1536), 1, "_SM_"));
    expect_sound();
    expect("Size: 1536 kB");
    decode(install("vm", GIB(4), 1, "_SM_"));
    expect_sound();
    expect("Size: 4 GB");
    expect("Range Size: 3 GB");
    expect("Starting Address: 0x00100000000");
    expect("Ending Address: 0x0013FFFFFFF");
    decode(install("vm", GIB(64), 16, "_SM3_"));
    expect_sound();
    expect("Size: 64 GB");
    expect("Range Size: 61 GB");
    expect("Core Count: 16");
}

static void test_without_a_brand(void **state)
{
    (void)state;
    fake_cpuid_set(0x80000000, 0, (struct cpuid_result){0x80000001, 0, 0, 0});
    decode(install("a-name-of-thirty-one-characters", MIB(8), 1, "_SM_"));
    expect_sound();
    expect("Version: Not Specified");
    expect("Product Name: a-name-of-thirty-one-characters");
}

/* Stable, different for different names, of version 8, and what the structure has. */
static void test_uuid(void **state)
{
    char last[64] = "";

    (void)state;
    for (u32 i = 0; i < 200; i++) {
        char name[16], again[64], words[80];
        u8 uuid[16];
        snprintf(name, sizeof name, "vm%u", i);
        guest_smbios_uuid(name, uuid);
        snprintf(again, sizeof again, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", uuid[3],
                 uuid[2], uuid[1], uuid[0], uuid[5], uuid[4], uuid[7], uuid[6], uuid[8], uuid[9], uuid[10], uuid[11],
                 uuid[12], uuid[13], uuid[14], uuid[15]);
        assert_int_equal(again[14], '8');
        assert_non_null(strchr("89ab", again[19]));
        assert_string_not_equal(again, last);
        strcpy(last, again);
        if (i % 50)
            continue;
        decode(install(name, MIB(8), 1, "_SM_"));
        snprintf(words, sizeof words, "UUID: %s", again);
        expect(words);
    }
}

static void test_stealth_has_no_virtual_machine(void **state)
{
    struct vm_spec spec = {.name = "s", .mem_bytes = MIB(8), .cpus = 1, .stealth = true};

    (void)state;
    const u8 *entry = install("s", MIB(8), 1, "_SM_");
    assert_int_equal(guest_smbios_install(&memory, &spec), STATUS_OK);
    assert_int_equal(guest_memory_read(&memory, gpa(0xf0000), rom, sizeof rom), STATUS_OK);
    decode(entry);
    expect_sound();
    expect_not("virtual machine");
}

static void test_no_firmware_area(void **state)
{
    struct vm_spec spec = {.name = "s", .mem_bytes = MIB(8), .cpus = 1};

    (void)state;
    memset(&memory, 0, sizeof memory);
    assert_int_equal(guest_smbios_install(&memory, &spec), STATUS_OUT_OF_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_both_entries, set_up),
        cmocka_unit_test_setup(test_memory_sizes, set_up),
        cmocka_unit_test_setup(test_without_a_brand, set_up),
        cmocka_unit_test_setup(test_uuid, set_up),
        cmocka_unit_test_setup(test_stealth_has_no_virtual_machine, set_up),
        cmocka_unit_test_setup(test_no_firmware_area, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
