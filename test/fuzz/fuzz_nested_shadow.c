/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest hypervisor that writes anything into its EPT, at any time, and forgets INVEPT: the tables that the CPU walks
 * lead to memory of its VM only, never to write to ROM, are made of frames of the pool, each of them once; and what has
 * just been filled has no right that the guest's tables, walked by a simple model, do not give.
 * links: vmx/nested/shadow.c kernel/vm/memory.c kernel/vm/layer.c test/fake/host_memory.c
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/panic.h"
#include "test/fake/fuzz_input.h"
#include "test/fake/host_memory.h"
#include "test/fake/must.h"
#include "vmx/ept.h"
#include "vmx/nested/shadow.h"
#include "vmx/tlb.h"
#include "vmx/vcpu.h"

#define TABLES       8u /* pages at 0 that the guest uses as tables */
#define FLAGS        BIT(6)
#define DIRTY        BIT(9)
#define RIGHTS       7ull
#define POOL_MOST    64u
#define PHYSICAL_END (1ull << 36)

struct vmx_features vmx_features;
static struct cpu_local local;
static struct vm vm;
static struct shadow s;
static u32 used; /* frames that the walk of all roots has met */
static bool met[POOL_MOST];

void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer)
{
    u64 number = (ept_pointer - s.pool.raw) / FRAME_BYTES;
    MUST(type == VMX_ALL_CONTEXTS || number < SHADOW_ROOTS);
    return true;
}

void vmx_invalidate_ept_everywhere(const struct vm *of)
{
    (void)of;
}

static void add_region(u64 base, u64 bytes, u64 align, u64 beyond, enum guest_region_kind kind)
{
    hpa_t frames;
    MUST(frames_allocate_dirty(bytes / FRAME_BYTES + beyond, align / FRAME_BYTES, &frames) == STATUS_OK);
    vm.memory.regions[vm.memory.region_count++] =
        (struct guest_region){gpa(base), bytes, hpa(frames.raw + beyond * FRAME_BYTES), kind};
}

/* Once: memory that is small, aligned, not aligned, and enough for a page of 1 GiB; and holes. */
static void make_machine(void)
{
    if (vm.memory.region_count)
        return;
    MUST(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &local) == 0);
    host_memory_init(GIB(1), GIB(3));
    add_region(0, TABLES * FRAME_BYTES, FRAME_BYTES, 0, GUEST_REGION_RAM);
    add_region(0xe0000, 2 * FRAME_BYTES, FRAME_BYTES, 0, GUEST_REGION_ROM);
    add_region(MIB(2), MIB(4), MIB(2), 1, GUEST_REGION_RAM);
    add_region(MIB(8), MIB(4), MIB(2), 0, GUEST_REGION_RAM);
    add_region(GIB(1), GIB(1), GIB(1), 0, GUEST_REGION_RAM);
    MUST(guest_memory_check(&vm.memory));
    vm.spec.mem_bytes = MIB(1);
    vmx_features.guest_physical_bits = 36;
}

static u64 *guest_table(u64 number)
{
    return guest_memory_view(&vm.memory, gpa(number * FRAME_BYTES), FRAME_BYTES);
}

/* ---- what the CPU walks ---- */

/* The region that has all of these frames. */
static const struct guest_region *owner_of(u64 frames, u64 bytes)
{
    for (u32 i = 0; i < vm.memory.region_count; i++) {
        const struct guest_region *r = &vm.memory.regions[i];
        if (frames >= r->frames.raw && frames + bytes <= r->frames.raw + r->size_bytes)
            return r;
    }
    return NULL;
}

static void check_table(u64 table, u32 level)
{
    u64 number = (table - s.pool.raw) / FRAME_BYTES;

    MUST(table >= s.pool.raw && number < s.frames && !met[number]);
    MUST(level == 4 ? number < SHADOW_ROOTS : number >= SHADOW_ROOTS);
    met[number] = true;
    used++;
    for (u32 i = 0; i < 512; i++) {
        u64 entry = ((u64 *)phys_to_virt(hpa(table)))[i];
        if (!entry)
            continue;
        if (level > 1 && !(entry & EPT_LARGE)) {
            MUST((entry & ~EPT_ADDRESS) == RIGHTS);
            check_table(entry & EPT_ADDRESS, level - 1);
            continue;
        }
        u64 bytes = FRAME_BYTES << 9 * (level - 1);
        const struct guest_region *owner = owner_of(entry & EPT_ADDRESS, bytes);
        MUST(level < 4 && !(entry & EPT_ADDRESS & (bytes - 1)));
        MUST(owner && !(owner->kind == GUEST_REGION_ROM && entry & EPT_WRITE));
        MUST((entry & ~(EPT_ADDRESS | RIGHTS)) == (EPT_WRITE_BACK | (level > 1 ? EPT_LARGE : 0)));
        MUST((entry & (EPT_READ | EPT_WRITE)) != EPT_WRITE);
        MUST(!vmx_features.fetch_small || level == 1 || !(entry & EPT_EXECUTE));
    }
}

static u32 check_list(u32 first, bool clean)
{
    static const u8 zeros[FRAME_BYTES];
    u32 count = 0;

    for (u32 i = first; i; i = s.links[i], count++) {
        MUST(i < s.frames && !met[i]);
        MUST(!clean || !memcmp(phys_to_virt(hpa(s.pool.raw + i * FRAME_BYTES)), zeros, FRAME_BYTES));
        met[i] = true;
    }
    return count;
}

static void check_all(void)
{
    u32 listed;

    used = 0;
    memset(met, 0, sizeof met);
    for (u32 i = 0; i < SHADOW_ROOTS; i++)
        check_table(s.pool.raw + i * FRAME_BYTES, 4);
    listed = check_list(s.clean, true) + check_list(s.dirty, false);
    /* A table that was made for a page that then found no frame may hang nowhere yet; it has its root's list. */
    for (u32 i = 0; i < SHADOW_ROOTS; i++)
        for (u32 at = s.root[i].first; at && !met[at]; at = s.links[at])
            met[at] = true;
    for (u32 i = 0; i < s.fresh; i++)
        MUST(met[i]);
    MUST(used + listed <= s.fresh);
}

/* ---- the model: what the guest's tables give, without a look at anything but rights and places ---- */

static u64 model_read(u64 address)
{
    u64 value = ~0ull;
    if (guest_memory_read(&vm.memory, gpa(address), &value, 8) != STATUS_OK)
        value = ~0ull;
    return value;
}

/* False: not mapped. */
static bool model_walk(u64 eptp, u64 address, u64 *rights, u64 *physical, u64 *leaf)
{
    u64 table = eptp & EPT_ADDRESS;

    *rights = RIGHTS;
    for (u32 shift = 39;; shift -= 9) {
        u64 entry = *leaf = model_read(table + (address >> shift & 511) * 8);
        *rights &= entry;
        if (!(entry & RIGHTS) || (entry & EPT_ADDRESS) >= PHYSICAL_END)
            return false;
        table = entry & EPT_ADDRESS;
        if (shift == 12 || (shift < 39 && entry & EPT_LARGE)) {
            u64 offset = address & ((1ull << shift) - 1);
            *physical = table + offset;
            return true;
        }
    }
}

static u64 mapped_by_cpu(u64 eptp, u64 address, u64 *host)
{
    u64 table = shadow_pointer(&s, eptp) & EPT_ADDRESS;

    for (u32 shift = 39;; shift -= 9) {
        u64 entry = ((u64 *)phys_to_virt(hpa(table)))[address >> shift & 511];
        if (!entry)
            return 0;
        table = entry & EPT_ADDRESS;
        if (shift == 12 || entry & EPT_LARGE) {
            *host = table | (address & ((1ull << shift) - 1));
            return entry & RIGHTS;
        }
    }
}

static void violate(u64 eptp, u64 address, u64 access)
{
    struct shadow_fault fault;
    u64 rights, physical, leaf, host, host_before = 0;

    u64 before = mapped_by_cpu(eptp, address, &host_before); /* the vCPU runs by it */
    enum shadow_result result = shadow_violation(&s, eptp, address, access, &fault);
    bool walks = model_walk(eptp, address, &rights, &physical, &leaf);
    switch (result) {
    case SHADOW_FILLED: {
        u64 given = mapped_by_cpu(eptp, address, &host);
        /* Flags change the entries of tables that are their own: the vCPU tries again. What is mapped may be older than
         * the tables: nobody has executed INVEPT. */
        if (!given || (given == before && host == host_before))
            return;
        MUST(walks);
        const struct guest_region *region = guest_memory_find(&vm.memory, gpa(physical));
        MUST(region && host == region->frames.raw + (physical - region->base.raw));
        MUST(!(given & ~rights));
        MUST(!(eptp & FLAGS) || !(given & EPT_WRITE) || access & EPT_WRITE || leaf & DIRTY);
        break;
    }
    case SHADOW_VIOLATION:
        MUST((fault.qualification & RIGHTS) == access && !(fault.qualification >> 6));
        MUST(!walks || access & ~rights);
        break;
    case SHADOW_NO_MEMORY: {
        const struct guest_region *region = guest_memory_find(&vm.memory, gpa(fault.physical));
        MUST(walks && physical == fault.physical);
        MUST(!region || (region->kind == GUEST_REGION_ROM && access & EPT_WRITE));
        break;
    }
    case SHADOW_MISCONFIGURATION:
        break;
    }
}

/* ---- the guest ---- */

static u64 take_address(struct input *in)
{
    static const u16 index[] = {0, 1, 511, 2};
    u64 choice = take(in, 1);

    return (u64)index[choice & 1 ? 2 : 0] << 39 | (u64)index[choice >> 1 & 3] << 30 |
           (u64)index[choice >> 3 & 3] << 21 | (u64)index[choice >> 5 & 3] << 12 | (choice & 0x80 ? 0xff8 : 0);
}

static u64 take_eptp(struct input *in)
{
    u64 choice = take(in, 1);
    return (choice % 6) * FRAME_BYTES | (choice & 0x80 ? FLAGS : 0) | 6 | 3 << 3;
}

static u64 take_entry(struct input *in)
{
    static const u64 places[] = {0, 0xe0000, MIB(2), MIB(3), MIB(8), GIB(1), 0xfee00000, GIB(1) + MIB(2)};
    u64 choice = take(in, 1), entry = take(in, 1) & 0xff;
    u64 place = choice & 0x80 ? (choice & 7) * FRAME_BYTES : places[choice & 7] + (choice >> 3 & 3) * FRAME_BYTES;

    if (choice & 0x40) /* well-formed: a large page, or a small one and tables */
        entry = choice & 0x20 ? (entry & 7) | 6 << 3 | EPT_LARGE : entry & 7;
    if (entry & EPT_LARGE && choice & 0x10)
        place = bits_align_down(place, MIB(2));
    entry |= place;
    return take(in, 1) == 0 ? entry ^ take(in, 8) : entry;
}

static void act(struct input *in)
{
    struct shadow_fault fault;
    u64 what = take(in, 1);

    switch (what % 8) {
    case 0:
    case 1:
    case 2: {
        static const u16 index[] = {0, 1, 511, 2};
        u64 *table = guest_table(take(in, 1) % TABLES);
        table[index[what >> 3 & 3]] = take_entry(in);
        break;
    }
    case 3:
    case 4: {
        u64 eptp = take_eptp(in), address = take_address(in), access = take(in, 1) % 7 + 1;
        violate(eptp, address, access);
        break;
    }
    case 5:
        shadow_forget(&s, take_eptp(in));
        break;
    case 6:
        local.id = (u32)take(in, 1) & 1;
        shadow_prepare(&s);
        MUST(!s.stale);
        break;
    default: {
        u64 eptp = take_eptp(in), address = take_address(in), access = what & 0x80 ? VMX_INNER_TABLE : EPT_READ;
        u64 rights, physical, leaf;
        if (what == 0xff)
            shadow_forget_all(&s);
        if (shadow_translate(&s, eptp, address, access, what & 8, &fault) == SHADOW_FILLED) {
            MUST(model_walk(eptp, address, &rights, &physical, &leaf));
            MUST(rights & EPT_READ && physical == fault.physical);
        }
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct vmx_caps caps = {0};
    u32 frames;

    make_machine();
    for (u32 i = 0; i < TABLES; i++) { /* the first four are a way to pages of every kind */
        memset(guest_table(i), 0, FRAME_BYTES);
        guest_table(i)[0] = i < 3 ? (i + 1) * FRAME_BYTES | RIGHTS : MIB(2) | RIGHTS | 6 << 3;
        guest_table(i)[1] = MIB(8) | RIGHTS | 6 << 3;
        guest_table(i)[2] = GIB(1) | RIGHTS | 6 << 3 | EPT_LARGE;
    }
    u64 features = take(&in, 1);
    vmx_features.fetch_small = features & 1;
    vmx_features.caps.ept_vpid = EPT_CAP_INVEPT_ONE | (features & 2 ? EPT_CAP_2M : 0) | (features & 4 ? EPT_CAP_1G : 0);
    caps.ept_vpid = EPT_CAP_2M | (features & 8 ? EPT_CAP_1G : 0) | (features & 16 ? BIT(0) : 0);
    u64 before = frames_free_count();
    MUST(shadow_create(&s, &vm, &caps, &frames) == STATUS_OK);
    if (features & 32)
        s.frames = 12; /* a pool that is empty soon */
    for (u32 i = 0; in.left; i++) {
        act(&in);
        if (i % 4 == 3)
            check_all();
    }
    check_all();
    s.frames = POOL_MOST;
    shadow_destroy(&s);
    MUST(frames_free_count() == before);
    return 0;
}
