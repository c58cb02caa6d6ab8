/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose an exit of the inner guest is, row by row: with no control set, with all, and with the one that decides.
 * SDM 3C 25.1.2 "Instructions That Cause VM Exits Unconditionally", 25.1.3 "Instructions That Cause VM Exits
 * Conditionally", 25.2 "Other Causes of VM Exits".
 *
 * links: vmx/nested/route.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmx/controls.h"
#include "vmx/nested/route.h"

#define IO_A       0x1000u
#define IO_B       0x2000u
#define MSRS       0x3000u
#define MEMORY     0x4000u
#define TYPE_NMI   0x200u
#define TYPE_FAULT 0x300u
#define TYPE_TRAP  0x600u
#define VALID      0x80000000u

static u64 fields[CHECK_FIELDS];
static struct route_exit exit_;
static u8 memory[MEMORY];

static bool read_byte(void *context, u64 physical, u8 *value)
{
    assert_ptr_equal(context, memory);
    if (physical >= MEMORY)
        return false;
    *value = memory[physical];
    return true;
}

static int set_up(void **state)
{
    (void)state;
    memset(fields, 0, sizeof fields);
    memset(&exit_, 0, sizeof exit_);
    memset(memory, 0, sizeof memory);
    fields[FIELD_IO_BITMAP_A] = IO_A;
    fields[FIELD_IO_BITMAP_B] = IO_B;
    fields[FIELD_MSR_BITMAPS] = MSRS;
    return 0;
}

#define ALWAYS_SET BIT(1) /* of the primary controls: SDM 3D A.3.2 */

/* What the reason alone says is never something else. */
static enum route route(void)
{
    fields[FIELD_PROC_CONTROLS] |= ALWAYS_SET;
    enum route found = route_exit(fields, &exit_, read_byte, memory);

    if (exit_.reason < ARRAY_SIZE(route_needs)) {
        assert_true(!route_is_guests(exit_.reason) || found == ROUTE_GUEST);
        assert_true(!route_is_rootlets(fields, exit_.reason) || found == ROUTE_ROOTLET);
    }
    return found;
}

static enum route route_of(u32 reason)
{
    exit_.reason = reason;
    return route();
}

static void set_all(void)
{
    fields[FIELD_PIN_CONTROLS] = fields[FIELD_PROC_CONTROLS] = fields[FIELD_PROC2_CONTROLS] = 0xffffffff;
    fields[FIELD_EXCEPTION_BITMAP] = 0xffffffff;
    fields[FIELD_XSS_EXITING_BITMAP] = ~0ull;
    fields[FIELD_CR0_MASK] = fields[FIELD_CR4_MASK] = ~0ull;
    memset(memory, 0xff, sizeof memory);
}

/* What the CPU says of the exit is an exception 1, MOV to CR0 of ~0, IN from port 0, MSR 0 or component 0. */
static const struct {
    u32 reason;
    enum route without, with;
} all_rows[] = {
    {0,          ROUTE_ROOTLET, ROUTE_GUEST  },
    {1,          ROUTE_ROOTLET, ROUTE_ROOTLET},
    {2,          ROUTE_GUEST,   ROUTE_GUEST  },
    {3,          ROUTE_ROOTLET, ROUTE_ROOTLET},
    {4,          ROUTE_ROOTLET, ROUTE_ROOTLET},
    {5,          ROUTE_ROOTLET, ROUTE_ROOTLET},
    {6,          ROUTE_ROOTLET, ROUTE_ROOTLET},
    {7,          ROUTE_ROOTLET, ROUTE_GUEST  },
    {8,          ROUTE_ROOTLET, ROUTE_GUEST  },
    {9,          ROUTE_GUEST,   ROUTE_GUEST  },
    {10,         ROUTE_GUEST,   ROUTE_GUEST  },
    {11,         ROUTE_GUEST,   ROUTE_GUEST  },
    {12,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {13,         ROUTE_GUEST,   ROUTE_GUEST  },
    {14,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {15,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {16,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {17,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {18,         ROUTE_GUEST,   ROUTE_GUEST  },
    {19,         ROUTE_GUEST,   ROUTE_GUEST  },
    {20,         ROUTE_GUEST,   ROUTE_GUEST  },
    {21,         ROUTE_GUEST,   ROUTE_GUEST  },
    {22,         ROUTE_GUEST,   ROUTE_GUEST  },
    {23,         ROUTE_GUEST,   ROUTE_GUEST  },
    {24,         ROUTE_GUEST,   ROUTE_GUEST  },
    {25,         ROUTE_GUEST,   ROUTE_GUEST  },
    {26,         ROUTE_GUEST,   ROUTE_GUEST  },
    {27,         ROUTE_GUEST,   ROUTE_GUEST  },
    {28,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {29,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {30,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {31,         ROUTE_GUEST,   ROUTE_GUEST  },
    {32,         ROUTE_GUEST,   ROUTE_GUEST  },
    {33,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {34,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {35,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {36,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {37,         ROUTE_GUEST,   ROUTE_GUEST  },
    {38,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {39,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {40,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {41,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {42,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {43,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {44,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {45,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {46,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {47,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {48,         ROUTE_ROOTLET, ROUTE_EPT    },
    {49,         ROUTE_ROOTLET, ROUTE_EPT    },
    {50,         ROUTE_GUEST,   ROUTE_GUEST  },
    {51,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {52,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {53,         ROUTE_GUEST,   ROUTE_GUEST  },
    {54,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {55,         ROUTE_GUEST,   ROUTE_GUEST  },
    {56,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {57,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {58,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {59,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {60,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {61,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {62,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {63,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {64,         ROUTE_ROOTLET, ROUTE_GUEST  },
    {65,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {66,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {67,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {74,         ROUTE_ROOTLET, ROUTE_ROOTLET},
    {0x8000000a, ROUTE_ROOTLET, ROUTE_ROOTLET},
    {0x80000021, ROUTE_ROOTLET, ROUTE_ROOTLET},
    {0x0001000a, ROUTE_ROOTLET, ROUTE_ROOTLET},
    {0xffffffff, ROUTE_ROOTLET, ROUTE_ROOTLET},
};

static void test_each_row(void **state)
{
    (void)state;
    exit_.interruption = VALID | TYPE_FAULT | 1;
    for (size_t i = 0; i < ARRAY_SIZE(all_rows); i++) {
        set_up(NULL);
        exit_.interruption = VALID | TYPE_FAULT | 1;
        exit_.operand = 1;
        assert_int_equal(route_of(all_rows[i].reason), all_rows[i].without);
        set_all();
        assert_int_equal(route_of(all_rows[i].reason), all_rows[i].with);
    }
}

/* Each control decides its exit, and no other one does. */
static void test_each_control(void **state)
{
    static const struct {
        u32 reason, proc, proc2;
    } rows[] = {
        {7,  PROC_INTERRUPT_WINDOW,                0                       },
        {8,  PROC_NMI_WINDOW,                      0                       },
        {12, PROC_HLT_EXITING,                     0                       },
        {14, PROC_INVLPG_EXITING,                  0                       },
        {15, PROC_RDPMC_EXITING,                   0                       },
        {16, PROC_RDTSC_EXITING,                   0                       },
        {29, PROC_MOV_DR_EXITING,                  0                       },
        {36, PROC_MWAIT_EXITING,                   0                       },
        {39, PROC_MONITOR_EXITING,                 0                       },
        {40, PROC_PAUSE_EXITING,                   0                       },
        {40, PROC_SECONDARY,                       PROC2_PAUSE_LOOP_EXITING},
        {43, PROC_TPR_SHADOW,                      0                       },
        {44, PROC_SECONDARY,                       PROC2_APIC_ACCESSES     },
        {45, PROC_SECONDARY,                       PROC2_VIRTUAL_INTERRUPTS},
        {46, PROC_SECONDARY,                       PROC2_DESCRIPTOR_TABLE  },
        {47, PROC_SECONDARY,                       PROC2_DESCRIPTOR_TABLE  },
        {51, PROC_SECONDARY | PROC_RDTSC_EXITING,  PROC2_RDTSCP            },
        {54, PROC_SECONDARY,                       PROC2_WBINVD_EXITING    },
        {56, PROC_SECONDARY,                       PROC2_APIC_REGISTERS    },
        {57, PROC_SECONDARY,                       PROC2_RDRAND_EXITING    },
        {58, PROC_SECONDARY | PROC_INVLPG_EXITING, PROC2_INVPCID           },
        {59, PROC_SECONDARY,                       PROC2_VMFUNC            },
        {61, PROC_SECONDARY,                       PROC2_RDSEED_EXITING    },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        exit_.reason = rows[i].reason;
        fields[FIELD_PROC_CONTROLS] = rows[i].proc;
        fields[FIELD_PROC2_CONTROLS] = rows[i].proc2;
        assert_int_equal(route(), ROUTE_GUEST);
        for (u32 bit = 0; bit < 32; bit++) {
            fields[FIELD_PROC_CONTROLS] = rows[i].proc & ~(u32)BIT(bit);
            assert_int_equal(route(), rows[i].proc & BIT(bit) ? ROUTE_ROOTLET : ROUTE_GUEST);
            fields[FIELD_PROC_CONTROLS] = rows[i].proc;
            fields[FIELD_PROC2_CONTROLS] = rows[i].proc2 & ~(u32)BIT(bit);
            assert_int_equal(route(), rows[i].proc2 & BIT(bit) ? ROUTE_ROOTLET : ROUTE_GUEST);
            fields[FIELD_PROC2_CONTROLS] = rows[i].proc2;
        }
    }
}

/* Secondary controls that are not activated are 0, whatever the field has. */
static void test_secondary_controls_not_activated(void **state)
{
    (void)state;
    set_all();
    fields[FIELD_PROC_CONTROLS] &= ~(u64)PROC_SECONDARY;
    exit_.operand = 1;
    for (u32 reason = 44; reason <= 64; reason++) {
        bool always = reason == 50 || reason == 53 || reason == 55;
        bool guest = always || reason == 52; /* a pin-based control */
        assert_int_equal(route_of(reason), guest ? ROUTE_GUEST : ROUTE_ROOTLET);
    }
}

static void test_exceptions(void **state)
{
    (void)state;
    for (u32 bit = 0; bit < 32; bit++) {
        fields[FIELD_EXCEPTION_BITMAP] = BIT(bit);
        for (u32 vector = 0; vector < 32; vector++) {
            bool mine = vector == bit && vector != 14 && vector != 18 && vector != 2;
            if (vector == 14)
                mine = bit == 14; /* mask and match are 0: equal */
            exit_.interruption = VALID |
                                 (vector == 2                  ? TYPE_NMI
                                  : vector == 3 || vector == 4 ? TYPE_TRAP
                                                               : TYPE_FAULT) |
                                 vector;
            assert_int_equal(route_of(0), mine ? ROUTE_GUEST : ROUTE_ROOTLET);
        }
    }
}

/* NMIs and machine checks are the machine's, whatever the inner VMCS asks for. */
static void test_events_of_the_machine(void **state)
{
    (void)state;
    set_all();
    exit_.interruption = VALID | TYPE_NMI | 2;
    assert_int_equal(route_of(0), ROUTE_ROOTLET);
    exit_.interruption = VALID | TYPE_FAULT | 18;
    assert_int_equal(route_of(0), ROUTE_ROOTLET);
    assert_int_equal(route_of(1), ROUTE_ROOTLET);
}

/* SDM 3C 25.2: if PFEC & mask = match, bit 14 of the bitmap means what it says, otherwise the opposite. */
static void test_page_faults(void **state)
{
    (void)state;
    exit_.interruption = VALID | TYPE_FAULT | 0x800 | 14;
    for (u32 error = 0; error < 32; error++) {
        exit_.error_code = error;
        for (u32 mask = 0; mask < 32; mask++) {
            for (u32 match = 0; match < 32; match++) {
                fields[FIELD_PF_ERROR_MASK] = mask;
                fields[FIELD_PF_ERROR_MATCH] = match;
                fields[FIELD_EXCEPTION_BITMAP] = BIT(14);
                enum route set = route_of(0);
                fields[FIELD_EXCEPTION_BITMAP] = ~BIT(14) & 0xffffffff;
                enum route clear = route_of(0);
                bool equal = (error & mask) == match;
                assert_int_equal(set, equal ? ROUTE_GUEST : ROUTE_ROOTLET);
                assert_int_equal(clear, equal ? ROUTE_ROOTLET : ROUTE_GUEST);
            }
        }
    }
}

enum { MOV_TO, MOV_FROM, CLTS, LMSW };

static enum route cr(u32 type, u32 number, u64 value)
{
    exit_.qualification = number | type << 4 | (type == LMSW ? value << 16 : 0);
    exit_.operand = type == LMSW ? 0 : value;
    return route_of(28);
}

static void test_mov_to_cr0_and_cr4(void **state)
{
    (void)state;
    fields[FIELD_CR0_MASK] = 0x80000001;
    fields[FIELD_CR0_SHADOW] = 0x00000001;
    fields[FIELD_CR4_MASK] = 0x2020;
    fields[FIELD_CR4_SHADOW] = 0x20;
    assert_int_equal(cr(MOV_TO, 0, 0x00000001), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_TO, 0, 0x60050033), ROUTE_ROOTLET); /* what it does not hold may be anything */
    assert_int_equal(cr(MOV_TO, 0, 0x80000001), ROUTE_GUEST);
    assert_int_equal(cr(MOV_TO, 0, 0), ROUTE_GUEST);
    assert_int_equal(cr(MOV_TO, 4, 0x20), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_TO, 4, 0x6f0), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_TO, 4, 0x2020), ROUTE_GUEST);
    assert_int_equal(cr(MOV_TO, 4, 0), ROUTE_GUEST);
    assert_int_equal(cr(MOV_FROM, 0, 0), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_FROM, 4, 0), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_TO, 2, ~0ull), ROUTE_ROOTLET);
}

static void test_cr3(void **state)
{
    (void)state;
    assert_int_equal(cr(MOV_TO, 3, 0x1000), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_FROM, 3, 0), ROUTE_ROOTLET);
    fields[FIELD_PROC_CONTROLS] = PROC_CR3_STORE_EXITING;
    assert_int_equal(cr(MOV_TO, 3, 0x1000), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_FROM, 3, 0), ROUTE_GUEST);
    fields[FIELD_PROC_CONTROLS] = PROC_CR3_LOAD_EXITING;
    assert_int_equal(cr(MOV_FROM, 3, 0), ROUTE_ROOTLET);
    for (u32 count = 0; count <= 4; count++) {
        fields[FIELD_CR3_TARGET_COUNT] = count;
        for (u32 i = 0; i < 4; i++) {
            fields[FIELD_CR3_TARGET_0 + i] = 0x1000 * (i + 1);
            assert_int_equal(cr(MOV_TO, 3, 0x1000 * (i + 1)), i < count ? ROUTE_ROOTLET : ROUTE_GUEST);
        }
        assert_int_equal(cr(MOV_TO, 3, 0x9000), ROUTE_GUEST);
    }
}

static void test_cr8(void **state)
{
    (void)state;
    fields[FIELD_PROC_CONTROLS] = PROC_CR8_LOAD_EXITING;
    assert_int_equal(cr(MOV_TO, 8, 0), ROUTE_GUEST);
    assert_int_equal(cr(MOV_FROM, 8, 0), ROUTE_ROOTLET);
    fields[FIELD_PROC_CONTROLS] = PROC_CR8_STORE_EXITING;
    assert_int_equal(cr(MOV_TO, 8, 0), ROUTE_ROOTLET);
    assert_int_equal(cr(MOV_FROM, 8, 0), ROUTE_GUEST);
}

static void test_clts(void **state)
{
    (void)state;
    for (u32 mask = 0; mask < 2; mask++) {
        for (u32 shadow = 0; shadow < 2; shadow++) {
            fields[FIELD_CR0_MASK] = ~8ull | mask << 3;
            fields[FIELD_CR0_SHADOW] = ~8ull | shadow << 3;
            assert_int_equal(cr(CLTS, 0, 0), mask && shadow ? ROUTE_GUEST : ROUTE_ROOTLET);
        }
    }
}

/* All of mask, shadow and source in the low four bits, by the words of SDM 3C 25.1.3. */
static void test_lmsw(void **state)
{
    (void)state;
    for (u32 all = 0; all < 1 << 12; all++) {
        u32 mask = all & 15, shadow = all >> 4 & 15, source = all >> 8;
        bool sets_pe = mask & 1 && source & 1 && !(shadow & 1);
        bool differs = false;
        for (u32 bit = 1; bit < 4; bit++)
            differs |= mask >> bit & 1 && (source >> bit & 1) != (shadow >> bit & 1);
        fields[FIELD_CR0_MASK] = ~15ull | mask;
        fields[FIELD_CR0_SHADOW] = shadow;
        assert_int_equal(cr(LMSW, 0, source | 0xfff0), sets_pe || differs ? ROUTE_GUEST : ROUTE_ROOTLET);
    }
}

static enum route field(u32 reason, u64 encoding)
{
    exit_.operand = encoding;
    return route_of(reason);
}

/* A bit for each encoding of 15 bits, in the bitmap of the access; else as without VMCS shadowing. SDM 3C 25.1.3 */
static void test_vmread_and_vmwrite(void **state)
{
    enum { READ = 23, WRITE = 25 };

    (void)state;
    fields[FIELD_VMREAD_BITMAP] = IO_A;
    fields[FIELD_VMWRITE_BITMAP] = IO_B;
    fields[FIELD_PROC2_CONTROLS] = PROC2_VMCS_SHADOWING;
    assert_int_equal(field(READ, 0x681e), ROUTE_GUEST); /* the secondary controls are not activated */
    fields[FIELD_PROC_CONTROLS] = PROC_SECONDARY;
    for (u32 bit = 15; bit < 64; bit++) {
        assert_int_equal(field(READ, BIT(bit) | 0x681e), ROUTE_GUEST);
        assert_int_equal(field(WRITE, BIT(bit)), ROUTE_GUEST);
    }
    for (u32 encoding = 0; encoding < 0x8000; encoding += 7) {
        assert_int_equal(field(READ, encoding), ROUTE_ROOTLET);
        memory[IO_A + encoding / 8] = (u8)BIT(encoding % 8);
        assert_int_equal(field(READ, encoding), ROUTE_GUEST);
        assert_int_equal(field(READ, encoding ^ 1), ROUTE_ROOTLET);
        assert_int_equal(field(WRITE, encoding), ROUTE_ROOTLET);
        memory[IO_A + encoding / 8] = 0;
        memory[IO_B + encoding / 8] = (u8)~BIT(encoding % 8);
        assert_int_equal(field(WRITE, encoding), ROUTE_ROOTLET);
        assert_int_equal(field(WRITE, encoding ^ 1), ROUTE_GUEST);
        assert_int_equal(field(READ, encoding), ROUTE_ROOTLET);
        memory[IO_B + encoding / 8] = 0;
    }
    fields[FIELD_VMWRITE_BITMAP] = MEMORY; /* where nothing is */
    assert_int_equal(field(WRITE, 0), ROUTE_GUEST);
    fields[FIELD_PROC2_CONTROLS] = ~(u64)PROC2_VMCS_SHADOWING;
    assert_int_equal(field(READ, 0), ROUTE_GUEST);
}

/* Function 0, if it is enabled, of an entry that the list has. */
static void test_vmfunc(void **state)
{
    (void)state;
    fields[FIELD_PROC_CONTROLS] = PROC_SECONDARY;
    fields[FIELD_PROC2_CONTROLS] = PROC2_VMFUNC;
    assert_int_equal(field(59, 0), ROUTE_GUEST);
    fields[FIELD_VM_FUNCTION_CONTROLS] = 1;
    assert_int_equal(field(59, 0), ROUTE_ROOTLET);
    assert_int_equal(field(59, 511ull << 32), ROUTE_ROOTLET);
    assert_int_equal(field(59, 512ull << 32), ROUTE_GUEST);
    assert_int_equal(field(59, BIT(63)), ROUTE_GUEST);
    assert_int_equal(field(59, 1), ROUTE_GUEST);
    assert_int_equal(field(59, 63), ROUTE_GUEST);
}

static enum route io(u32 port, u32 bytes)
{
    exit_.qualification = (u64)port << 16 | (bytes - 1);
    return route_of(30);
}

static void test_io(void **state)
{
    (void)state;
    fields[FIELD_PROC_CONTROLS] = PROC_UNCONDITIONAL_IO;
    assert_int_equal(io(0x80, 1), ROUTE_GUEST);
    fields[FIELD_PROC_CONTROLS] = PROC_IO_BITMAPS | PROC_UNCONDITIONAL_IO; /* which is ignored then */
    assert_int_equal(io(0x80, 1), ROUTE_ROOTLET);
    assert_int_equal(io(0xffff, 1), ROUTE_ROOTLET);
    assert_int_equal(io(0xffff, 2), ROUTE_GUEST);
    assert_int_equal(io(0xfffd, 4), ROUTE_GUEST);
    assert_int_equal(io(0xfffc, 4), ROUTE_ROOTLET);
    memory[IO_A + 0x80 / 8] = 1;
    assert_int_equal(io(0x80, 1), ROUTE_GUEST);
    assert_int_equal(io(0x7f, 1), ROUTE_ROOTLET);
    assert_int_equal(io(0x7f, 2), ROUTE_GUEST);
    assert_int_equal(io(0x7d, 4), ROUTE_GUEST);
    assert_int_equal(io(0x7c, 4), ROUTE_ROOTLET);
    assert_int_equal(io(0x81, 4), ROUTE_ROOTLET);
    assert_int_equal(io(0x8080, 4), ROUTE_ROOTLET);
    memory[IO_B] = 1; /* port 0x8000 */
    assert_int_equal(io(0x8000, 1), ROUTE_GUEST);
    assert_int_equal(io(0x7fff, 2), ROUTE_GUEST);
    assert_int_equal(io(0, 1), ROUTE_ROOTLET);
    memory[IO_B + 0xfff] = 0x80;
    assert_int_equal(io(0xfffc, 4), ROUTE_GUEST);
}

static enum route msr(u32 reason, u32 index)
{
    exit_.operand = index;
    return route_of(reason);
}

static void test_msrs(void **state)
{
    static const struct {
        u32 reason, index, byte;
    } rows[] = {
        {31, 0,          0    },
        {31, 0x1fff,     0x3ff},
        {31, 0xc0000000, 0x400},
        {31, 0xc0000080, 0x410},
        {31, 0xc0001fff, 0x7ff},
        {32, 0,          0x800},
        {32, 0x10,       0x802},
        {32, 0xc0000080, 0xc10},
        {32, 0xc0001fff, 0xfff},
    };
    static const u32 outside[] = {0x2000, 0x40000000, 0xbfffffff, 0xc0002000, 0xffffffff};

    (void)state;
    assert_int_equal(msr(31, 0x10), ROUTE_GUEST);
    assert_int_equal(msr(32, 0x10), ROUTE_GUEST);
    fields[FIELD_PROC_CONTROLS] = PROC_MSR_BITMAPS;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(msr(rows[i].reason, rows[i].index), ROUTE_ROOTLET);
        memory[MSRS + rows[i].byte] = (u8)(1 << rows[i].index % 8);
        assert_int_equal(msr(rows[i].reason, rows[i].index), ROUTE_GUEST);
        memory[MSRS + rows[i].byte] ^= 0xff;
        assert_int_equal(msr(rows[i].reason, rows[i].index), ROUTE_ROOTLET);
        memset(memory, 0, sizeof memory);
    }
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
        assert_int_equal(msr(31, outside[i]), ROUTE_GUEST);
        assert_int_equal(msr(32, outside[i]), ROUTE_GUEST);
    }
}

/* Bitmaps where no memory is read as ones. */
static void test_bitmaps_that_point_nowhere(void **state)
{
    (void)state;
    fields[FIELD_PROC_CONTROLS] = PROC_MSR_BITMAPS | PROC_IO_BITMAPS;
    fields[FIELD_MSR_BITMAPS] = fields[FIELD_IO_BITMAP_A] = MEMORY;
    assert_int_equal(msr(31, 0x10), ROUTE_GUEST);
    assert_int_equal(msr(32, 0x10), ROUTE_GUEST);
    assert_int_equal(io(0, 1), ROUTE_GUEST);
    assert_int_equal(io(0x8000, 1), ROUTE_ROOTLET);
}

static void test_timer(void **state)
{
    (void)state;
    fields[FIELD_PIN_CONTROLS] = PIN_PREEMPTION_TIMER;
    assert_int_equal(route_of(52), ROUTE_GUEST);
    exit_.timer_is_ours = true;
    assert_int_equal(route_of(52), ROUTE_ROOTLET);
    fields[FIELD_PIN_CONTROLS] = 0;
    exit_.timer_is_ours = false;
    assert_int_equal(route_of(52), ROUTE_ROOTLET);
}

static void test_xsaves(void **state)
{
    (void)state;
    fields[FIELD_PROC_CONTROLS] = PROC_SECONDARY;
    fields[FIELD_PROC2_CONTROLS] = PROC2_XSAVES;
    fields[FIELD_XSS_EXITING_BITMAP] = 0x100;
    for (u32 reason = 63; reason <= 64; reason++) {
        exit_.operand = 0x100;
        assert_int_equal(route_of(reason), ROUTE_GUEST);
        exit_.operand = 0xeff;
        assert_int_equal(route_of(reason), ROUTE_ROOTLET);
    }
}

static void test_what_the_reason_alone_says(void **state)
{
    (void)state;
    fields[FIELD_PROC_CONTROLS] = ALWAYS_SET;
    assert_true(route_is_guests(10) && !route_is_guests(30) && !route_is_guests(64));
    assert_true(route_is_rootlets(fields, 1) && route_is_rootlets(fields, 30) && route_is_rootlets(fields, 12));
    assert_true(!route_is_rootlets(fields, 0) && !route_is_rootlets(fields, 28) && !route_is_rootlets(fields, 48));
    fields[FIELD_PROC_CONTROLS] = ALWAYS_SET | PROC_IO_BITMAPS | PROC_HLT_EXITING;
    assert_true(!route_is_rootlets(fields, 30) && !route_is_rootlets(fields, 12) && route_is_rootlets(fields, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_row, set_up),
        cmocka_unit_test_setup(test_each_control, set_up),
        cmocka_unit_test_setup(test_what_the_reason_alone_says, set_up),
        cmocka_unit_test_setup(test_secondary_controls_not_activated, set_up),
        cmocka_unit_test_setup(test_exceptions, set_up),
        cmocka_unit_test_setup(test_events_of_the_machine, set_up),
        cmocka_unit_test_setup(test_page_faults, set_up),
        cmocka_unit_test_setup(test_mov_to_cr0_and_cr4, set_up),
        cmocka_unit_test_setup(test_cr3, set_up),
        cmocka_unit_test_setup(test_cr8, set_up),
        cmocka_unit_test_setup(test_clts, set_up),
        cmocka_unit_test_setup(test_lmsw, set_up),
        cmocka_unit_test_setup(test_vmread_and_vmwrite, set_up),
        cmocka_unit_test_setup(test_vmfunc, set_up),
        cmocka_unit_test_setup(test_io, set_up),
        cmocka_unit_test_setup(test_msrs, set_up),
        cmocka_unit_test_setup(test_bitmaps_that_point_nowhere, set_up),
        cmocka_unit_test_setup(test_timer, set_up),
        cmocka_unit_test_setup(test_xsaves, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
