/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See shadow.h. A page is mapped as large as both levels have it, with the rights that both give. Whatever stands in
 * the guest's tables, only memory of its VM is ever mapped, and a frame of the pool belongs to one root or to nobody.
 * SDM 3C 28.2.2 "EPT Translation Mechanism" to 28.2.4 "Accessed and Dirty Flags for EPT".
 */
#include "vmx/nested/shadow.h"
#include "arch/x86/paging.h"
#include "kernel/frames.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "vmx/ept.h"
#include "vmx/tlb.h"
#include "vmx/vcpu.h"

#define UNUSED          UINT64_MAX
#define RIGHTS          (EPT_READ | EPT_WRITE | EPT_EXECUTE)
#define ENTRY_ACCESSED  BIT(8)
#define ENTRY_DIRTY     BIT(9)
#define EPTP_FLAGS      BIT(6) /* accessed and dirty flags are in use */
#define CAP_EXECUTE     BIT(0) /* execute-only pages */
#define LEVELS          4u
#define MOST_WALKS      8u /* of one access of ours: another CPU cannot hold it up for ever */
#define FRAMES_LEAST    64u
#define FRAMES_MOST     4096u
#define CLEANED_AT_ONCE 64u
#define FRAMES_PER_ROOT 8u /* for what lies scattered: a firmware's pages, those of devices */

/* ---- frames of the pool ---- */

static u64 *table_at(const struct shadow *s, u32 index)
{
    return phys_to_virt(hpa(s->pool.raw + index * FRAME_BYTES));
}

static u32 frames_for(u64 memory_bytes)
{
    u64 frames = memory_bytes / MIB(2) + 2 * (memory_bytes / GIB(1) + 1) + SHADOW_ROOTS * FRAMES_PER_ROOT;

    return frames < FRAMES_LEAST ? FRAMES_LEAST : frames > FRAMES_MOST ? FRAMES_MOST : (u32)frames;
}

enum status shadow_create(struct shadow *s, const struct vm *vm, const struct vmx_caps *caps, u32 *frames)
{
    u32 count = frames_for(vm->spec.mem_bytes);
    u32 link_frames = (u32)((count * sizeof s->links[0] + FRAME_BYTES - 1) / FRAME_BYTES);
    hpa_t pool;

    if (frames_allocate(count + link_frames, 1, &pool) != STATUS_OK)
        return STATUS_NO_MEMORY;
    *s = (struct shadow){
        .memory = &vm->memory,
        .reserved = BIT(52) - BIT(vmx_features.guest_physical_bits),
        .caps = caps->ept_vpid,
        .pool = pool,
        .fresh = SHADOW_ROOTS,
        .frames = (u16)count,
        .link_frames = (u16)link_frames,
        .cpu = VCPU_NO_CPU,
    };
    s->links = (u16 *)table_at(s, count);
    for (u32 i = 0; i < SHADOW_ROOTS; i++)
        s->root[i].eptp = UNUSED;
    *frames = count + link_frames;
    return STATUS_OK;
}

/* The frames may become anybody's, and the CPUs on which the vCPU was know them as tables. */
void shadow_destroy(struct shadow *s)
{
    vmx_invalidate_ept_everywhere(NULL);
    frames_free_dirty(s->pool, s->frames + s->link_frames);
}

/* A table for the root, of zeros; 0: there is none. */
static u32 take_table(struct shadow *s, struct shadow_root *root)
{
    u32 index = s->clean;

    if (index) {
        s->clean = s->links[index];
    } else if (s->fresh < s->frames) {
        index = s->fresh++;
    } else if ((index = s->dirty)) {
        s->dirty = s->links[index];
        memset(table_at(s, index), 0, FRAME_BYTES);
    } else {
        return 0;
    }
    if (!root->first)
        root->last = (u16)index;
    s->links[index] = root->first;
    root->first = (u16)index;
    return index;
}

/*
 * The tables can be used again at once: nobody but this vCPU's CPU walks them, and it forgets before it does. So many
 * are zeroed here, where it takes less time than at a violation, which needs up to three; all would take too long.
 */
static void drop(struct shadow *s, u32 number)
{
    struct shadow_root *root = &s->root[number];

    if (!root->first)
        return;
    memset(table_at(s, number), 0, root->slots * sizeof(u64));
    root->slots = 0;
    for (u32 i = 0; i < CLEANED_AT_ONCE && root->first; i++) {
        u16 table = root->first;
        root->first = s->links[table];
        memset(table_at(s, table), 0, FRAME_BYTES);
        s->links[table] = s->clean;
        s->clean = table;
    }
    if (root->first) {
        s->links[root->last] = s->dirty;
        s->dirty = root->first;
        root->first = 0;
    }
    s->stale |= (u8)(1u << number);
}

/* ---- roots ---- */

/* Bits 51:12 name an EPT; with flags, or without, it maps differently. */
static u64 key_of(u64 eptp)
{
    return eptp & (EPT_ADDRESS | EPTP_FLAGS);
}

static NOINLINE u32 replace_root(struct shadow *s, u64 eptp)
{
    u32 oldest = 0;

    for (u32 i = 1; i < SHADOW_ROOTS; i++)
        if (s->clock - s->root[i].last_used > s->clock - s->root[oldest].last_used)
            oldest = i;
    drop(s, oldest);
    s->root[oldest].eptp = key_of(eptp);
    s->root[oldest].last_used = ++s->clock;
    return oldest;
}

static u32 root_of(struct shadow *s, u64 eptp)
{
    for (u32 i = 0; i < SHADOW_ROOTS; i++)
        if (s->root[i].eptp == key_of(eptp))
            return i;
    return replace_root(s, eptp);
}

static u64 pointer_of(const struct shadow *s, u32 number)
{
    return ept_pointer(s->pool.raw + number * FRAME_BYTES) | (s->root[number].eptp & EPTP_FLAGS);
}

u64 shadow_pointer(struct shadow *s, u64 eptp)
{
    u32 number = root_of(s, eptp);

    s->root[number].last_used = ++s->clock;
    return pointer_of(s, number);
}

void shadow_forget(struct shadow *s, u64 eptp)
{
    for (u32 i = 0; i < SHADOW_ROOTS; i++)
        if (!((s->root[i].eptp ^ eptp) & EPT_ADDRESS))
            drop(s, i);
}

void shadow_forget_all(struct shadow *s)
{
    for (u32 i = 0; i < SHADOW_ROOTS; i++)
        drop(s, i);
}

/* On a CPU that the vCPU comes to all roots are stale: it may have been here before, and on another since. */
void shadow_flush(struct shadow *s)
{
    u32 roots = s->cpu == cpu_id() ? s->stale : (1u << SHADOW_ROOTS) - 1;

    if (!(vmx_features.caps.ept_vpid & EPT_CAP_INVEPT_ONE)) {
        CHECK(vmx_invept(VMX_ALL_CONTEXTS, 0));
        roots = 0;
    }
    for (u32 i = 0; roots >> i; i++)
        if (roots >> i & 1)
            CHECK(vmx_invept(VMX_SINGLE_CONTEXT, ept_pointer(s->pool.raw + i * FRAME_BYTES)));
    s->stale = 0;
    s->cpu = cpu_id();
}

/* ---- the guest's tables ---- */

enum step { WALKED, ABSENT, MISCONFIGURED };

struct walk {
    u64 rights;   /* what all entries allow */
    u64 physical; /* where the last one leads */
    u32 level;    /* of the last one */
    struct {
        u64 *at; /* NULL: it cannot be written */
        u64 value;
    } entry[LEVELS]; /* by level - 1 */
};

static u32 shift_of(u32 level)
{
    return FRAME_SHIFT + 9 * (level - 1);
}

static u32 index_of(u64 address, u32 level)
{
    return (u32)(address >> shift_of(level)) % 512;
}

/* Nested VMs have no layered memory: what is not in these regions does not exist. */
static const struct guest_region *find(const struct shadow *s, u64 physical)
{
    return guest_memory_find_in(s->memory->regions, s->memory->region_count, gpa(physical));
}

static u64 host_address(const struct guest_region *region, u64 physical)
{
    return region->frames.raw + (physical - region->base.raw);
}

/* Where no memory is, all ones are read: an entry with reserved bits. */
static u64 read_entry(const struct shadow *s, struct walk *w, u64 table)
{
    u64 physical = table + index_of(w->physical, w->level) * sizeof(u64);
    const struct guest_region *region = find(s, physical);
    u64 value = ~0ull;

    w->entry[w->level - 1].at = NULL;
    if (LIKELY(region)) {
        u64 *at = phys_to_virt(hpa(host_address(region, physical)));
        value = __atomic_load_n(at, __ATOMIC_RELAXED);
        if (region->kind != GUEST_REGION_ROM)
            w->entry[w->level - 1].at = at;
    }
    w->entry[w->level - 1].value = value;
    return value;
}

static bool maps_page(u64 entry, u32 level)
{
    return level == 1 || (level < LEVELS && entry & EPT_LARGE);
}

/* SDM 3C 28.2.3.1 "EPT Misconfigurations"; tables 28-1 to 28-6 for what is reserved. */
static bool is_misconfigured(const struct shadow *s, u64 entry, u32 level)
{
    u64 rights = entry & RIGHTS;
    u64 reserved = s->reserved;

    if ((rights & (EPT_READ | EPT_WRITE)) == EPT_WRITE || (rights == EPT_EXECUTE && !(s->caps & CAP_EXECUTE)))
        return true;
    if (!maps_page(entry, level))
        return entry & (reserved | (level == LEVELS ? 0xf8 : 0x78));
    if ((level == 3 && !(s->caps & EPT_CAP_1G)) || (level == 2 && !(s->caps & EPT_CAP_2M)))
        return true;
    reserved |= bits_align_down(BIT(shift_of(level)) - 1, FRAME_BYTES);
    return entry & reserved || BIT(entry >> 3 & 7) & (BIT(2) | BIT(3) | BIT(7));
}

/* The order of SDM 3C 28.2.3.3 "Prioritization of EPT Misconfigurations and EPT Violations". */
static enum step walk(const struct shadow *s, u64 eptp, u64 address, struct walk *w)
{
    u64 table = eptp & EPT_ADDRESS;

    w->rights = RIGHTS;
    w->physical = address;
    for (w->level = LEVELS;; w->level--) {
        u64 entry = read_entry(s, w, table);
        w->rights &= entry;
        if (!(entry & RIGHTS))
            return ABSENT;
        if (UNLIKELY(is_misconfigured(s, entry, w->level)))
            return MISCONFIGURED;
        table = entry & EPT_ADDRESS;
        if (maps_page(entry, w->level))
            break;
    }
    u64 offset = BIT(shift_of(w->level)) - 1;
    w->physical = (table & ~offset) | (address & offset);
    return WALKED;
}

/* Without any right left nothing is allowed: an access always has a bit, but let nothing depend on it. */
static bool is_allowed(const struct walk *w, u64 access)
{
    return w->rights && !(access & ~w->rights);
}

/*
 * SDM 3C 28.2.4 "Accessed and Dirty Flags for EPT". As a CPU sets them, only in an entry that still is what was used;
 * false: it is not.
 */
static bool set_flags(struct walk *w, bool write)
{
    for (u32 level = LEVELS; level >= w->level; level--) {
        u64 expected = w->entry[level - 1].value;
        u64 wanted = expected | ENTRY_ACCESSED | (level == w->level && write ? ENTRY_DIRTY : 0);
        if (wanted != expected && w->entry[level - 1].at &&
            !__atomic_compare_exchange_n(w->entry[level - 1].at, &expected, wanted, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST))
            return false;
    }
    return true;
}

/* What the guest's tables say of an access. */
static enum shadow_result judge(const struct shadow *s, u64 eptp, u64 address, u64 access, struct walk *w,
                                struct shadow_fault *fault)
{
    if (UNLIKELY(walk(s, eptp, address, w) == MISCONFIGURED))
        return SHADOW_MISCONFIGURATION;
    if (is_allowed(w, access))
        return SHADOW_FILLED;
    fault->qualification = access | w->rights << 3;
    return SHADOW_VIOLATION;
}

/* With flags in use the CPU takes what it reads of page tables for written. SDM 3C 28.2.3.2 "EPT Violations" */
static u64 rights_for(u64 eptp, u64 access)
{
    if (!(access & VMX_INNER_TABLE))
        return access;
    return eptp & EPTP_FLAGS ? EPT_READ | EPT_WRITE : EPT_READ;
}

enum shadow_result shadow_translate(const struct shadow *s, u64 eptp, u64 address, u64 access, bool flags,
                                    struct shadow_fault *fault)
{
    u64 rights = rights_for(eptp, access);

    for (u32 i = 0; i < MOST_WALKS; i++) {
        struct walk w;
        enum shadow_result result = judge(s, eptp, address, rights, &w, fault);
        fault->physical = w.physical;
        if (result != SHADOW_FILLED || !flags || !(eptp & EPTP_FLAGS) || set_flags(&w, rights & EPT_WRITE))
            return result;
    }
    return SHADOW_FILLED;
}

/* ---- filling ---- */

/*
 * The level of the largest page around w->physical that the guest's EPT and our map of its memory have alike. Code
 * runs in small pages only on a CPU that needs it: vmx/fetch.c.
 */
static u32 common_level(const struct walk *w, const struct guest_region *region, u64 access)
{
    u64 caps = vmx_features.caps.ept_vpid;

    if (vmx_features.fetch_small && access & EPT_EXECUTE)
        return 1;
    for (u32 level = w->level; level > 1; level--) {
        u64 size = BIT(shift_of(level));
        u64 offset = bits_align_down(w->physical, size) - region->base.raw;
        if (caps & (level == 3 ? EPT_CAP_1G : EPT_CAP_2M) && offset < region->size_bytes &&
            size <= region->size_bytes - offset && bits_is_aligned(region->frames.raw + offset, size))
            return level;
    }
    return 1;
}

static bool is_table(u64 entry)
{
    return entry && !(entry & EPT_LARGE);
}

/*
 * Maps the page of `level` around `address`, or of a lower level where a table stands already. A larger page there
 * gives way to a table: its memory was the VM's, so nothing but its size can be wrong. False: out of frames.
 */
static bool install(struct shadow *s, u32 number, u64 address, u64 host, u64 rights, u32 wanted)
{
    struct shadow_root *root = &s->root[number];
    u64 *entry = &table_at(s, number)[index_of(address, LEVELS)];
    u32 level = LEVELS;

    if (index_of(address, LEVELS) >= root->slots)
        root->slots = (u16)(index_of(address, LEVELS) + 1);
    while (level > wanted || (level > 1 && is_table(*entry))) {
        if (!is_table(*entry)) {
            u32 table = take_table(s, root);
            if (!table)
                return false;
            if (*entry)
                s->stale |= (u8)(1u << number);
            *entry = (s->pool.raw + table * FRAME_BYTES) | RIGHTS;
        }
        level--;
        entry = (u64 *)phys_to_virt(hpa(*entry & EPT_ADDRESS)) + index_of(address, level);
    }
    if (level > 1 && vmx_features.fetch_small)
        rights &= ~EPT_EXECUTE;
    u64 page = bits_align_down(host, BIT(shift_of(level)));
    if ((*entry & RIGHTS & ~rights) || (*entry && (*entry ^ page) & EPT_ADDRESS))
        s->stale |= (u8)(1u << number);
    *entry = page | rights | EPT_WRITE_BACK | (level > 1 ? EPT_LARGE : 0);
    return true;
}

/* With flags in use a page that is not dirty yet is mapped without write: its first write comes here. */
static u64 common_rights(const struct walk *w, u64 eptp, u64 access, const struct guest_region *region)
{
    bool waits = eptp & EPTP_FLAGS && !(access & EPT_WRITE) && !(w->entry[w->level - 1].value & ENTRY_DIRTY);

    return waits || region->kind == GUEST_REGION_ROM ? w->rights & ~EPT_WRITE : w->rights;
}

enum shadow_result shadow_violation(struct shadow *s, u64 eptp, u64 address, u64 access, struct shadow_fault *fault)
{
    struct walk w;

    enum shadow_result result = judge(s, eptp, address, access, &w, fault);

    if (result != SHADOW_FILLED)
        return result;
    if (eptp & EPTP_FLAGS && !set_flags(&w, access & EPT_WRITE))
        return SHADOW_FILLED;
    const struct guest_region *region = find(s, w.physical);
    if (!region || (region->kind == GUEST_REGION_ROM && access & EPT_WRITE)) {
        fault->physical = w.physical;
        return SHADOW_NO_MEMORY;
    }
    u32 number = root_of(s, eptp);
    u32 level = common_level(&w, region, access);
    u64 rights = common_rights(&w, eptp, access, region);
    u64 host = host_address(region, w.physical);
    if (UNLIKELY(!install(s, number, address, host, rights, level))) {
        shadow_forget_all(s);
        CHECK(install(s, number, address, host, rights, level));
    }
    return SHADOW_FILLED;
}
