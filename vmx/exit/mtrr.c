/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See mtrr.h. SDM 3A 11.11.2 "Setting Memory Ranges with MTRRs".
 */
#include "vmx/exit/mtrr.h"
#include "arch/x86/msr.h"

#define CAPABILITIES (FIXED / 2 | BIT(8) | BIT(10)) /* so many ranges; fixed ranges, write-combining */
#define ENABLED      BIT(11)                        /* in IA32_MTRR_DEF_TYPE; in a mask: valid */
#define FIXED_ON     BIT(10)
#define BYTE_OF_EACH 0x0101010101010101ull
#define PAGE_MASK    (~0xfffull)

/* SDM 3A 11.11 "Memory Type Range Registers (MTRRs)", table 11-8; 2, 3 and what is above 6 are reserved. */
enum memory_type { MEMORY_UNCACHEABLE = 0, MEMORY_WRITE_PROTECTED = 5, MEMORY_WRITE_BACK = 6 };

/* Where in mtrr->registers; below FIXED are the ranges. */
#define FIXED        16u
#define DEFAULT_TYPE 27u

/* MTRR_REGISTERS: it is none of them. */
static u32 slot_of(u32 index)
{
    if (index - MSR_IA32_MTRR_PHYSBASE0 < FIXED)
        return index - MSR_IA32_MTRR_PHYSBASE0;
    if (index == MSR_IA32_MTRR_FIX64K)
        return FIXED;
    if (index - MSR_IA32_MTRR_FIX16K < 2)
        return FIXED + 1 + index - MSR_IA32_MTRR_FIX16K;
    if (index - MSR_IA32_MTRR_FIX4K < 8)
        return FIXED + 3 + index - MSR_IA32_MTRR_FIX4K;
    return index == MSR_IA32_MTRR_DEF_TYPE ? DEFAULT_TYPE : MTRR_REGISTERS;
}

bool mtrr_has(u32 index)
{
    return index == MSR_IA32_MTRRCAP || slot_of(index) < MTRR_REGISTERS;
}

void mtrr_init(struct mtrr *mtrr, u32 physical_bits)
{
    u64 address_mask = (BIT(physical_bits) - 1) & PAGE_MASK;

    u64 *registers = mtrr->registers;
    *mtrr = (struct mtrr){0};
    registers[0] = GIB(3) | MEMORY_UNCACHEABLE;
    registers[1] = (address_mask & ~(GIB(1) - 1)) | ENABLED;
    registers[FIXED] = registers[FIXED + 1] = BYTE_OF_EACH * MEMORY_WRITE_BACK; /* 640 KiB; then video memory */
    for (u32 i = FIXED + 3; i < DEFAULT_TYPE; i++)
        registers[i] = BYTE_OF_EACH * MEMORY_WRITE_PROTECTED;
    registers[DEFAULT_TYPE] = ENABLED | FIXED_ON | MEMORY_WRITE_BACK;
}

u64 mtrr_read(const struct mtrr *mtrr, u32 index)
{
    return index == MSR_IA32_MTRRCAP ? CAPABILITIES : mtrr->registers[slot_of(index)];
}

static bool is_memory_type(u64 type)
{
    return type <= MEMORY_WRITE_BACK && type != 2 && type != 3;
}

static bool are_memory_types(u64 types)
{
    for (u32 i = 0; i < 64; i += 8)
        if (!is_memory_type(types >> i & 0xff))
            return false;
    return true;
}

static bool is_valid(u32 slot, u64 value, u32 physical_bits)
{
    if (slot == DEFAULT_TYPE)
        return !(value & ~(ENABLED | FIXED_ON | 0xff)) && is_memory_type(value & 0xff);
    if (slot >= FIXED)
        return are_memory_types(value);
    if (value >> physical_bits)
        return false;
    return slot & 1 ? !(value & 0x7ff) : !(value & 0xf00) && is_memory_type(value & 0xff);
}

bool mtrr_write(struct mtrr *mtrr, u32 index, u64 value, u32 physical_bits)
{
    u32 slot = slot_of(index);

    if (slot == MTRR_REGISTERS || !is_valid(slot, value, physical_bits))
        return false;
    mtrr->registers[slot] = value;
    return true;
}
