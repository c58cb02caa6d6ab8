/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's page tables, walked as the CPU does: RAM above 512 GiB, ranges that meet in one large page, firmware
 * tables that lie outside of RAM above 4 GiB, an image that was moved.
 * links: arch/x86/paging.c test/fake/cpu.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/features.h"
#include "arch/x86/paging.h"
#include "test/fake/cpu.h"

#define FRAMES_BASE 0x1000000u
#define FRAMES      4096u
#define IMAGE_BASE  0x6400000u /* where the boot loader put it */
#define TIB(n)      ((u64)(n) << 40)
#define ADDRESS     0x000ffffffffff000ull

u8 image_block[4 * 4096] ALIGNED(4096);
asm(".globl image_start, image_rodata, image_rodata_end, image_data, image_end\n"
    ".set image_start, image_block\n"
    ".set image_rodata, image_block + 4096\n"
    ".set image_rodata_end, image_block + 8192\n"
    ".set image_data, image_block + 8192\n"
    ".set image_end, image_block + 16384\n");
u64 paging_image_offset;

static u8 frames[FRAMES][4096] ALIGNED(4096);
static u32 frames_used;
static struct features features;

const struct features *features_get(void)
{
    return &features;
}

void *phys_to_virt(hpa_t address)
{
    if (address.raw >= FRAMES_BASE && address.raw - FRAMES_BASE < sizeof frames)
        return (u8 *)frames + (address.raw - FRAMES_BASE);
    return (void *)(uintptr_t)address.raw; /* the top table, see below */
}

hpa_t virt_to_phys(const void *pointer)
{
    u64 offset = (u64)((const u8 *)pointer - image_block);
    return hpa(offset <= sizeof image_block ? IMAGE_BASE + offset : (u64)(uintptr_t)pointer);
}

static bool frame(hpa_t *out)
{
    if (frames_used == FRAMES)
        return false;
    *out = hpa(FRAMES_BASE + 4096ull * frames_used++);
    return true;
}

/* The entry that translates `address`, and how many bytes it covers; 0: none. */
static u64 walk(u64 address, u64 *covers)
{
    const u64 *table = phys_to_virt(hpa(fake_cpu.cr3));

    for (unsigned shift = 39;; shift -= 9) {
        u64 entry = table[address >> shift & 511];
        *covers = 1ull << shift;
        if (!(entry & 1) || shift == 12 || (entry & 0x80))
            return entry & 1 ? entry : 0;
        table = phys_to_virt(hpa(entry & ADDRESS));
    }
}

static void assert_mapped(u64 physical, u64 page_bytes, bool writable)
{
    u64 covers;
    u64 entry = walk(DIRECT_MAP_BASE + physical, &covers);

    assert_true(entry);
    assert_true(covers == page_bytes);
    assert_true((entry & ADDRESS & ~(covers - 1)) == (physical & ~(covers - 1)));
    assert_true((entry & ADDRESS & (covers - 1)) == 0); /* else reserved bits, or PAT */
    assert_int_equal(!!(entry & 2), writable);
    assert_true(entry >> 63); /* never executable */
}

static void assert_unmapped(u64 physical)
{
    u64 covers;
    assert_true(walk(DIRECT_MAP_BASE + physical, &covers) == 0);
}

static void build(const struct paging_range *ranges, u32 count)
{
    assert_int_equal(paging_init(ranges, count, frame), STATUS_OK);
}

/* paging.c builds its tables once in a life, so each test adds to what is there. */
static const struct paging_range ranges[] = {
    {0x1000,                  GIB(3)         },
    {GIB(4),                  GIB(2) - 0x1000}, /* these two meet in the last 2 MiB of a 1 GiB page */
    {GIB(6) - 0x800,          0x800          },
    {GIB(511),                GIB(3)         }, /* over the border of two top-level entries */
    {TIB(8),                  MIB(4)         },
    {DIRECT_MAP_MAX - 0x1000, GIB(1)         },
};

static int start(void **state)
{
    (void)state;
    features = (struct features){.nx = true, .pages_1g = true};
    fake_cpu_reset();
    fake_cpuid_set(0x80000000, 0, (struct cpuid_result){.eax = 0x80000008});
    fake_cpuid_set(0x80000008, 0, (struct cpuid_result){.eax = 52});
    build(ranges, ARRAY_SIZE(ranges));
    return 0;
}

static void ram_is_mapped_wherever_it_lies(void **state)
{
    (void)state;
    assert_mapped(0x1000, MIB(2), true);
    assert_mapped(GIB(4) - 1, MIB(2), true);
    assert_mapped(GIB(511), GIB(1), true);
    assert_mapped(GIB(512), GIB(1), true);
    assert_mapped(GIB(514) - 1, GIB(1), true);
    assert_unmapped(GIB(514));
    assert_mapped(TIB(8) + MIB(3), MIB(2), true);
    assert_mapped(DIRECT_MAP_MAX - 1, MIB(2), true);
    assert_unmapped(DIRECT_MAP_MAX);
}

static void ranges_that_meet_in_a_large_page(void **state)
{
    (void)state;
    assert_mapped(GIB(5), GIB(1), true);
    assert_mapped(GIB(6) - 1, GIB(1), true);
}

static void the_image_is_read_only_where_it_really_lies(void **state)
{
    u64 covers;

    (void)state;
    assert_mapped(IMAGE_BASE, 4096, false);
    assert_mapped(IMAGE_BASE + 0x1000, 4096, false);
    assert_mapped(IMAGE_BASE + 0x2000, 4096, true);
    assert_mapped(IMAGE_BASE - 1, MIB(2), true);
    u64 text = walk((u64)(uintptr_t)image_block, &covers);
    assert_true((text & ADDRESS) == IMAGE_BASE);
    assert_false(text >> 63 || (text & 2));
}

static void firmware_tables_outside_of_ram(void **state)
{
    (void)state;
    u64 table = GIB(20) + 0xffc;

    assert_unmapped(table);
    assert_true(paging_map_firmware(hpa(table), 36)); /* over a page's end */
    assert_mapped(table, 4096, false);
    assert_mapped(table + 35, 4096, false);
    assert_unmapped(GIB(20) + 0x2000);
    assert_true(paging_map_firmware(hpa(GIB(513) + 5), 36)); /* RAM stays as it is */
    assert_mapped(GIB(513), GIB(1), true);
    assert_true(paging_map_firmware(hpa(0xe0000), 0x20000));
    assert_mapped(0xe0000, MIB(2), true);
}

static void addresses_that_no_entry_can_have(void **state)
{
    (void)state;
    assert_false(paging_map_firmware(hpa(DIRECT_MAP_MAX), 36));
    assert_false(paging_map_firmware(hpa(DIRECT_MAP_MAX - 35), 36));
    assert_false(paging_map_firmware(hpa(~0ull - 40), 36));
    fake_cpuid_set(0x80000008, 0, (struct cpuid_result){.eax = 39});
    assert_false(paging_map_firmware(hpa(GIB(512)), 36));
    assert_true(paging_map_firmware(hpa(GIB(512) - 36), 36));
}

static void without_frames_nothing_is_mapped(void **state)
{
    (void)state;
    frames_used = FRAMES;
    assert_false(paging_map_firmware(hpa(TIB(9)), 36));
    assert_unmapped(TIB(9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ram_is_mapped_wherever_it_lies),
        cmocka_unit_test(ranges_that_meet_in_a_large_page),
        cmocka_unit_test(the_image_is_read_only_where_it_really_lies),
        cmocka_unit_test(firmware_tables_outside_of_ram),
        cmocka_unit_test(addresses_that_no_entry_can_have),
        cmocka_unit_test(without_frames_nothing_is_mapped),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
