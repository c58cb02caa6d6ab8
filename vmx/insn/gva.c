/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page-table walk. It gathers the entries it used and the rights they leave, checks the access, and only then sets
 * accessed and dirty flags; if an entry changed meanwhile the walk starts again, a bounded number of times.
 * Entry formats: SDM 3A tables 4-4 to 4-6 (32-bit), 4-8 to 4-11 (PAE), 4-14 to 4-20 (4-level and 5-level).
 */
#include "vmx/insn/gva.h"
#include "arch/x86/regs.h"

#define ENTRY_PRESENT    BIT(0)
#define ENTRY_WRITE      BIT(1)
#define ENTRY_USER       BIT(2)
#define ENTRY_ACCESSED   BIT(5)
#define ENTRY_DIRTY      BIT(6)
#define ENTRY_LARGE      BIT(7)
#define ENTRY_NO_EXECUTE BIT(63)
#define ENTRY_KEY(entry) bits_field(entry, 62, 59)

#define ERROR_PRESENT  BIT(0)
#define ERROR_WRITE    BIT(1)
#define ERROR_USER     BIT(2)
#define ERROR_RESERVED BIT(3)
#define ERROR_FETCH    BIT(4)
#define ERROR_KEY      BIT(5)

#define MAX_WALKS 8u /* of one translation: another CPU cannot hold it up for ever */

enum step {
    STEP_DONE,
    STEP_NOT_PRESENT,
    STEP_RESERVED,
    STEP_RIGHTS,
    STEP_BAD_TABLE,
    STEP_RESTART /* an entry could not be updated */
};

struct walk {
    u64 physical;
    u64 rights; /* the AND of WRITE and USER of all entries */
    bool no_execute;
    struct gva_path path; /* its entries have accessed flags; the last of them maps the page */
};

bool gva_is_canonical(u64 linear, u64 cr4)
{
    unsigned shift = cr4 & CR4_LA57 ? 7 : 16;
    return (u64)((s64)(linear << shift) >> shift) == linear;
}

/* Reads the entry at `address` into the walk. */
static enum step take_entry(const struct gva_context *c, struct walk *w, u64 address, u64 *entry)
{
    if (!c->read_entry(c->context, gpa(address), w->path.entry_bytes, entry))
        return STEP_BAD_TABLE;
    *entry &= bits_mask_of_bytes(w->path.entry_bytes);
    if (!(*entry & ENTRY_PRESENT))
        return STEP_NOT_PRESENT;
    w->path.entries[w->path.used].address = address;
    w->path.entries[w->path.used].value = *entry;
    w->path.used++;
    w->rights &= *entry;
    return STEP_DONE;
}

/* SDM 3A 4.3: two levels of 1024 entries; with CR4.PSE also 4-MByte pages of up to 40 physical address bits. */
static enum step walk_32_bit(const struct gva_context *c, u64 linear, struct walk *w)
{
    u64 entry;

    w->path.entry_bytes = 4;
    enum step step = take_entry(c, w, (c->cr3 & 0xfffff000u) + bits_field(linear, 31, 22) * 4, &entry);
    if (step != STEP_DONE)
        return step;
    if (entry & ENTRY_LARGE && c->cr4 & CR4_PSE) {
        unsigned high_bits = (c->physical_bits < 40 ? c->physical_bits : 40u) - 32u;
        if (bits_field(entry, 21, 13) >> high_bits)
            return STEP_RESERVED;
        w->physical = bits_field(entry, 20, 13) << 32 | (entry & 0xffc00000u) | (linear & 0x3fffff);
        return STEP_DONE;
    }
    step = take_entry(c, w, (entry & 0xfffff000u) + bits_field(linear, 21, 12) * 4, &entry);
    w->physical = (entry & 0xfffff000u) | (linear & 0xfff);
    return step;
}

/* The low bits that an entry at `level` (1: it maps 4 KiB) leaves to the offset. */
static u64 offset_mask(unsigned level)
{
    return BIT(12 + 9 * (level - 1)) - 1;
}

/* The bits that must be zero in an 8-byte entry at `level`. */
static u64 reserved_bits(const struct gva_context *c, unsigned level, bool large)
{
    u64 reserved = BIT(52) - BIT(c->physical_bits);

    if (!(c->efer & EFER_NXE))
        reserved |= ENTRY_NO_EXECUTE;
    if (!(c->efer & EFER_LMA))
        reserved |= BIT(63) - BIT(52); /* PAE paging ignores none of 62:52 */
    if (level > 3 || (level == 3 && !c->gigabyte_pages))
        reserved |= ENTRY_LARGE;
    else if (large)
        reserved |= BIT(12 + 9 * (level - 1)) - BIT(13); /* bit 12 is the PAT flag */
    return reserved;
}

/* PAE, 4-level and 5-level paging: `level` tables of 512 entries, the first of them at `table`. */
static enum step walk_levels(const struct gva_context *c, u64 linear, u64 table, unsigned level, struct walk *w)
{
    u64 frame_mask = BIT(52) - BIT(12);

    w->path.entry_bytes = 8;
    for (;; level--) {
        u64 entry;
        unsigned shift = 12 + 9 * (level - 1);
        enum step step = take_entry(c, w, (table & frame_mask) + bits_field(linear, shift + 8, shift) * 8, &entry);
        if (step != STEP_DONE)
            return step;
        bool large = level > 1 && entry & ENTRY_LARGE;
        if (entry & reserved_bits(c, level, large))
            return STEP_RESERVED;
        w->no_execute |= (entry & ENTRY_NO_EXECUTE) != 0;
        if (level == 1 || large) {
            w->physical = (entry & frame_mask & ~offset_mask(level)) | (linear & offset_mask(level));
            return STEP_DONE;
        }
        table = entry;
    }
}

static enum step walk_tables(const struct gva_context *c, u64 linear, struct walk *w)
{
    if (c->efer & EFER_LMA)
        return walk_levels(c, linear, c->cr3, c->cr4 & CR4_LA57 ? 5 : 4, w);
    if (!(c->cr4 & CR4_PAE))
        return walk_32_bit(c, linear, w);
    /* The four PDPTEs carry no rights; their reserved bits were checked when they were loaded. SDM 3A 4.4.1 */
    u64 pdpte = c->pdpte[bits_field(linear, 31, 30)];
    return pdpte & ENTRY_PRESENT ? walk_levels(c, linear, pdpte, 2, w) : STEP_NOT_PRESENT;
}

/*
 * SDM 3A 4.6.2 "Protection Keys": whether PKRU denies an access to data of a user page, which has the key of the entry
 * that maps it. Two bits for each key: no access; no writes, by the supervisor only if CR0.WP is set.
 */
static bool key_denies(const struct gva_context *c, const struct walk *w, enum gva_access access)
{
    if (!(c->efer & EFER_LMA) || !(c->cr4 & CR4_PKE) || access == GVA_FETCH || !(w->rights & ENTRY_USER))
        return false;
    u32 denied = c->pkru >> 2 * ENTRY_KEY(w->path.entries[w->path.used - 1u].value);
    return denied & 1 || (denied & 2 && access == GVA_WRITE && (c->cpl == 3 || c->cr0 & CR0_WP));
}

/* SDM 3A 4.6.1 "Determination of Access Rights" */
static bool rights_allow(const struct gva_context *c, const struct walk *w, enum gva_access access)
{
    bool user_page = w->rights & ENTRY_USER;
    bool writable = w->rights & ENTRY_WRITE;
    bool user_mode = c->cpl == 3;

    if (user_mode && !user_page)
        return false;
    if (access == GVA_FETCH)
        return !w->no_execute && (user_mode || !user_page || !(c->cr4 & CR4_SMEP));
    if (!user_mode && user_page && c->cr4 & CR4_SMAP && !(c->rflags & RFLAGS_AC))
        return false;
    return access == GVA_READ || writable || (!user_mode && !(c->cr0 & CR0_WP));
}

/* SDM 3A 4.8: accessed in every entry used, dirty in the one that maps the page. */
static enum step set_flags(const struct gva_context *c, const struct walk *w, enum gva_access access)
{
    for (unsigned i = 0; i < w->path.used; i++) {
        u64 value = w->path.entries[i].value;
        u64 wanted = value | ENTRY_ACCESSED;
        if (i == w->path.used - 1u && access == GVA_WRITE)
            wanted |= ENTRY_DIRTY;
        if (wanted != value &&
            !c->update_entry(c->context, gpa(w->path.entries[i].address), w->path.entry_bytes, value, wanted))
            return STEP_RESTART;
    }
    return STEP_DONE;
}

/* SDM 3A 4.7: the error code of a #PF that `step` stands for. */
static u32 error_code(const struct gva_context *c, enum step step, enum gva_access access)
{
    u64 error = 0;

    if (step != STEP_NOT_PRESENT)
        error |= ERROR_PRESENT;
    if (step == STEP_RESERVED)
        error |= ERROR_RESERVED;
    if (access == GVA_WRITE)
        error |= ERROR_WRITE;
    if (c->cpl == 3)
        error |= ERROR_USER;
    if (access == GVA_FETCH && (c->cr4 & CR4_SMEP || (c->cr4 & CR4_PAE && c->efer & EFER_NXE)))
        error |= ERROR_FETCH;
    return (u32)error;
}

enum gva_result gva_translate(const struct gva_context *context, u64 linear, enum gva_access access, gpa_t *out,
                              u32 *pf_error)
{
    struct walk w;
    enum step step = STEP_RESTART;
    bool denied_by_key = false; /* SDM 3A 4.7: the error code says so, whatever else denies it */

    if (!(context->cr0 & CR0_PG)) {
        *out = gpa(linear);
        if (context->path)
            context->path->used = 0;
        return GVA_OK;
    }
    for (unsigned i = 0; i < MAX_WALKS && step == STEP_RESTART; i++) {
        w.rights = ENTRY_WRITE | ENTRY_USER;
        w.no_execute = false;
        w.path.used = 0;
        step = walk_tables(context, linear, &w);
        denied_by_key = step == STEP_DONE && key_denies(context, &w, access);
        if (step == STEP_DONE && (denied_by_key || !rights_allow(context, &w, access)))
            step = STEP_RIGHTS;
        if (step == STEP_DONE && context->update_entry)
            step = set_flags(context, &w, access);
    }
    if (step == STEP_BAD_TABLE || step == STEP_RESTART)
        return GVA_BAD_TABLE;
    if (step != STEP_DONE) {
        *pf_error = error_code(context, step, access) | (denied_by_key ? (u32)ERROR_KEY : 0);
        return GVA_FAULT;
    }
    *out = gpa(w.physical);
    if (context->path)
        *context->path = w.path;
    return GVA_OK;
}
