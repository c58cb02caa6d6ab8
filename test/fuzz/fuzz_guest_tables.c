/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MP table and SMBIOS of arbitrary VMs on arbitrary CPUs, walked to their last byte: sums, lengths, counts, and strings
 * that exist.
 * links: kernel/vm/mptable.c kernel/vm/smbios.c kernel/vm/memory.c kernel/vm/layer.c test/fake/host_memory.c
 * test/fake/cpu.c flags: -Itest/fake
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/clock.h"
#include "kernel/vm/mptable.h"
#include "kernel/vm/smbios.h"
#include "test/fake/cpu.h"
#include "test/fake/host_memory.h"
#include "test/fake/must.h"

static struct guest_memory memory;
static u64 hz;
static u8 rom[KIB(64)]; /* from 0xf0000 */

u64 clock_tsc_hz(void)
{
    return hz;
}

static u32 get(const u8 *from, u32 bytes)
{
    u32 value = 0;
    memcpy(&value, from, bytes);
    return value;
}

static bool adds_up(const u8 *bytes, u32 count)
{
    u8 sum = 0;
    while (count--)
        sum = (u8)(sum + bytes[count]);
    return sum == 0;
}

/* A CPU's signature may look like an anchor: the sum tells, as it does for whoever searches. */
static const u8 *find(const char *anchor, u32 length_at)
{
    for (u32 at = 0; at < sizeof rom; at += 16) {
        u32 length = length_at ? rom[at + length_at] : 16;
        if (memcmp(rom + at, anchor, strlen(anchor)) == 0 && at + length <= sizeof rom && adds_up(rom + at, length))
            return rom + at;
    }
    return NULL;
}

static void check_mptable(u32 cpus)
{
    const u8 *pointer = find("_MP_", 0);
    MUST(pointer);
    const u8 *table = rom + (get(pointer + 4, 4) - 0xf0000), *at = table + 44;
    u32 length = get(table + 4, 2), entries = get(table + 34, 2), type = 0;
    MUST(adds_up(table, length));
    for (u32 i = 0; i < entries; i++) {
        MUST(at[0] >= type && at[0] <= 4); /* they ascend */
        type = at[0];
        cpus -= type == 0;
        at += type ? 8 : 20;
    }
    MUST(at == table + length && cpus == 0);
}

/* Returns the end of the structure at `at`, strings included; each string that it names exists. */
static const u8 *check_structure(const u8 *at, const u8 *end)
{
    static const struct {
        u8 type, fields[6];
    } named[] = {
        {0,  {4, 5, 8}           },
        {1,  {4, 5, 6, 7, 25, 26}},
        {3,  {4, 6, 7, 8}        },
        {4,  {4, 7, 16}          },
        {17, {16, 17}            }
    };
    const u8 *string = at + at[1];
    u32 strings = 0;

    MUST(at[1] >= 4 && string < end);
    while (*string) {
        MUST(memchr(string, 0, (size_t)(end - string)));
        string += strlen((const char *)string) + 1;
        strings++;
        MUST(string < end);
    }
    for (u32 i = 0; i < ARRAY_SIZE(named); i++)
        for (u32 j = 0; named[i].type == at[0] && j < ARRAY_SIZE(named[i].fields) && named[i].fields[j]; j++)
            MUST(at[named[i].fields[j]] <= strings);
    return string + (strings ? 1 : 2);
}

static void check_smbios(const char *name)
{
    const u8 *two = find("_SM_", 5), *three = find("_SM3_", 6);
    MUST(two && three && adds_up(two + 16, 15));
    u32 bytes = get(two + 0x16, 2), count = get(two + 0x1c, 2), longest = 0;
    MUST(bytes == get(three + 0x0c, 4) && get(two + 0x18, 4) == get(three + 0x10, 4));
    const u8 *at = rom + (get(two + 0x18, 4) - 0xf0000), *end = at + bytes;
    for (u32 i = 0; i < count; i++) {
        const u8 *next = check_structure(at, end);
        u32 length = (u32)(next - at);
        longest = length > longest ? length : longest;
        MUST((at[0] == 127) == (i == count - 1));
        if (at[0] == 1)
            MUST(strcmp((const char *)at + at[1] + strlen("Rootlet") + 1, name) == 0);
        at = next;
    }
    MUST(at == end && longest == get(two + 8, 2));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    struct vm_spec spec = {.name = "v"};
    struct refusal why;
    u8 in[160] = {0};

    memcpy(in, data, size < sizeof in ? size : sizeof in);
    if (!memory.region_count) {
        host_memory_init(MIB(1), MIB(4));
        MUST(guest_memory_allocate(&memory, MIB(2), &why) == STATUS_OK);
    }
    fake_cpu_reset();
    for (u32 i = 0; i < 6; i++) {
        struct cpuid_result r;
        memcpy(&r, in + 40 + 16 * i, sizeof r);
        fake_cpuid_set(i < 2 ? i : 0x80000000 + i, 0, r);
    }
    fake_cpuid_set(0x80000000, 0, (struct cpuid_result){in[1] & 1 ? 0x80000008 : 0x80000001, 0, 0, 0});
    hz = 1000000 + (u64)get(in + 2, 4) * 2;
    spec.cpus = 1 + in[0] % VM_MAX_VCPUS;
    spec.stealth = in[1] & 2;
    spec.mem_bytes = MIB(1) + (u64)get(in + 6, 3) % (63u << 18) * FRAME_BYTES;
    for (u32 i = 0; i < in[10] % 31; i++)
        spec.name[i] = letters[in[11 + i % 24] % (sizeof letters - 1)];
    MUST(guest_mptable_install(&memory, spec.cpus) == STATUS_OK);
    MUST(guest_smbios_install(&memory, &spec) == STATUS_OK);
    MUST(guest_memory_read(&memory, gpa(0xf0000), rom, sizeof rom) == STATUS_OK);
    check_mptable(spec.cpus);
    check_smbios(spec.name);
    return 0;
}
