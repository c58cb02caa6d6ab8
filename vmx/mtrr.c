/*
 * See mtrr.h. The effect on a VM's memory is in msr.c and ept.c. SDM 3A 11.11.2 "Setting Memory Ranges with MTRRs",
 * 11.11.4.1 "MTRR Precedences".
 */
#include "vmx/mtrr.h"
#include "arch/x86/msr.h"

#define CAPABILITIES (FIXED / 2 | BIT(8) | BIT(10)) /* so many ranges; fixed ranges, write-combining */
#define ENABLED      BIT(11)                        /* in IA32_MTRR_DEF_TYPE; in a mask: valid */
#define FIXED_ON     BIT(10)
#define FIXED_END    MIB(1)
#define BYTE_OF_EACH 0x0101010101010101ull
#define PAGE_MASK    (~0xfffull)

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

/* Eight ranges of 64 KiB, 16 of 16 KiB, 64 of 4 KiB, each a byte. */
static enum memory_type fixed_type(const struct mtrr *mtrr, u64 address)
{
    u64 at = address >> 16;

    if (address >= 0xc0000)
        at = 24 + ((address - 0xc0000) >> 12);
    else if (address >= 0x80000)
        at = 8 + ((address - 0x80000) >> 14);
    return (mtrr->registers[FIXED + at / 8] >> 8 * (at % 8)) & 0xff;
}

/* Of two ranges that overlap; where the SDM leaves it undefined, uncacheable. */
static u64 overlap(u64 a, u64 b)
{
    if (a == b)
        return a;
    if ((a == MEMORY_WRITE_THROUGH && b == MEMORY_WRITE_BACK) || (b == MEMORY_WRITE_THROUGH && a == MEMORY_WRITE_BACK))
        return MEMORY_WRITE_THROUGH;
    return MEMORY_UNCACHEABLE;
}

/*
 * A range has the addresses that agree with its base in the bits of its mask. Some address of an aligned page does if
 * those bits agree that the page has in common; all do if the mask has no other bits.
 */
static enum memory_type range_type(const struct mtrr *mtrr, u64 from, u64 bytes)
{
    u64 type = UINT64_MAX; /* of the ranges that have the whole page; none so far */
    u32 partial = 0;       /* types of those that have a part of it */

    for (u32 i = 0; i < FIXED; i += 2) {
        u64 base = mtrr->registers[i], mask = mtrr->registers[i + 1];
        if (!(mask & ENABLED) || ((from ^ base) & mask & ~(bytes - 1) & PAGE_MASK))
            continue;
        if (mask & (bytes - 1) & PAGE_MASK)
            partial |= 1u << (base & 7);
        else
            type = type == UINT64_MAX ? base & 7 : overlap(type, base & 7);
    }
    bool none = type == UINT64_MAX;
    type = none ? mtrr->registers[DEFAULT_TYPE] & 7 : type;
    for (u32 t = 0; t < 8; t++)
        if ((partial & 1u << t) && (none ? t : overlap(type, t)) != type)
            return MEMORY_UNCACHEABLE;
    return (enum memory_type)type;
}

enum memory_type mtrr_type(const struct mtrr *mtrr, u64 from, u64 bytes)
{
    if (!(mtrr->registers[DEFAULT_TYPE] & ENABLED))
        return MEMORY_UNCACHEABLE;
    if ((mtrr->registers[DEFAULT_TYPE] & FIXED_ON) && from < FIXED_END)
        return bytes <= KIB(4) ? fixed_type(mtrr, from) : MEMORY_UNCACHEABLE;
    return range_type(mtrr, from, bytes);
}
