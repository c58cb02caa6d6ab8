/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access to a guest's linear addresses on its behalf, with the checks and faults that its own access would meet.
 * SDM 3A 4 "Paging". Runs between exit and entry on the vCPU's CPU; takes the VM lock only for devices.
 */
#include "vmx/insn/guest.h"
#include "arch/x86/cpu.h"
#include "arch/x86/xsave.h"
#include "vmx/ept.h"
#include "vmx/event.h"

/* Page-table entries outside RAM read as everything outside RAM does: all ones. */
static bool read_entry(void *context, gpa_t address, u8 bytes, u64 *value)
{
    struct vmx_vcpu *v = context;

    *value = 0;
    if (guest_memory_read(&v->base.vm->memory, address, value, bytes) != STATUS_OK)
        *value = bits_mask_of_bytes(bytes);
    return true;
}

/* A write where there is no RAM has no effect. */
static bool update_entry(void *context, gpa_t address, u8 bytes, u64 expected, u64 value)
{
    struct vmx_vcpu *v = context;
    const struct guest_region *region = guest_memory_find(&v->base.vm->memory, address);

    if (!region || region->kind == GUEST_REGION_ROM)
        return true;
    void *entry = guest_memory_open(&v->base.vm->memory, address, bytes);
    if (!entry) /* no frame for it, and the VM stops */
        return true;
    u32 narrow = (u32)expected;
    if (bytes == 4)
        return __atomic_compare_exchange_n((u32 *)entry, &narrow, (u32)value, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    return __atomic_compare_exchange_n((u64 *)entry, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* ---- an inner guest with EPT: its physical addresses are those of its hypervisor's map ---- */

static COLD bool read_inner_entry(void *context, gpa_t address, u8 bytes, u64 *value)
{
    struct vmx_vcpu *v = context;
    u64 physical;

    return v->inner_physical(v, address.raw, VMX_INNER_TABLE, true, &physical) &&
           read_entry(v, gpa(physical), bytes, value);
}

static COLD bool peek_inner_entry(void *context, gpa_t address, u8 bytes, u64 *value)
{
    struct vmx_vcpu *v = context;
    u64 physical;

    return v->inner_physical(v, address.raw, VMX_INNER_TABLE, false, &physical) &&
           read_entry(v, gpa(physical), bytes, value);
}

static COLD bool update_inner_entry(void *context, gpa_t address, u8 bytes, u64 expected, u64 value)
{
    struct vmx_vcpu *v = context;
    u64 physical;

    return v->inner_physical(v, address.raw, EPT_READ | EPT_WRITE, true, &physical) &&
           update_entry(v, gpa(physical), bytes, expected, value);
}

static COLD bool place(struct vmx_vcpu *v, enum gva_access access, bool flags, gpa_t *where)
{
    static const u8 rights[] = {[GVA_READ] = EPT_READ, [GVA_WRITE] = EPT_WRITE, [GVA_FETCH] = EPT_EXECUTE};

    return v->inner_physical(v, where->raw, rights[access], flags, &where->raw);
}

void guest_fill_context(struct vmx_vcpu *v, struct gva_context *context)
{
    *context = (struct gva_context){
        .cr0 = vmcs_read(GUEST_CR0),
        .cr3 = vmcs_read(GUEST_CR3),
        .cr4 = vmcs_read(GUEST_CR4),
        .efer = guest_efer(v),
        .rflags = vmcs_read(GUEST_RFLAGS),
        .cpl = vmcs_read(GUEST_SS_ACCESS) >> 5 & 3,
        .physical_bits = (u8)cpu_cpuid(0x80000008, 0).eax,
        .gigabyte_pages = cpu_cpuid(0x80000001, 0).edx & BIT(26),
        .context = v,
        .read_entry = read_entry,
        .update_entry = update_entry,
    };
    if (UNLIKELY(v->inner_physical)) {
        context->read_entry = read_inner_entry;
        context->update_entry = update_inner_entry;
    }
    if (context->cr4 & CR4_PKE)
        context->pkru = pkru_read(); /* it is still the guest's */
    if ((context->cr0 & CR0_PG) && (context->cr4 & CR4_PAE) && !(context->efer & EFER_LMA)) {
        context->pdpte[0] = vmcs_read(GUEST_PDPTE0);
        context->pdpte[1] = vmcs_read(GUEST_PDPTE1);
        context->pdpte[2] = vmcs_read(GUEST_PDPTE2);
        context->pdpte[3] = vmcs_read(GUEST_PDPTE3);
    }
}

static enum guest_access translate(struct vmx_vcpu *v, u64 linear, enum gva_access access, gpa_t *out,
                                   struct gva_path *path)
{
    struct gva_context context;
    u32 error = 0;

    guest_fill_context(v, &context);
    context.path = path;
    if ((context.efer & EFER_LMA) && !gva_is_canonical(linear, context.cr4)) {
        vmx_inject_exception(v, VECTOR_GP, 0);
        return GUEST_ACCESS_FAULT;
    }
    switch (gva_translate(&context, linear, access, out, &error)) {
    case GVA_OK:
        if (UNLIKELY(v->inner_physical) && !place(v, access, true, out))
            return GUEST_ACCESS_FAULT;
        return GUEST_ACCESS_OK;
    case GVA_FAULT:
        v->cr2 = cr2_read();
        cr2_write(linear);
        vmx_inject_exception(v, VECTOR_PF, error);
        return GUEST_ACCESS_FAULT;
    default: /* entries of an inner guest's can be read, unless its hypervisor is told that they cannot */
        return v->inner_physical ? GUEST_ACCESS_FAULT : GUEST_ACCESS_STOP;
    }
}

enum guest_access guest_translate(struct vmx_vcpu *v, u64 linear, enum gva_access access, gpa_t *out)
{
    return translate(v, linear, access, out, NULL);
}

/* An access inside one page is one access; one that crosses is done byte by byte, each byte where its page is. */
static bool fits_page(u64 linear, u8 bytes)
{
    return (linear & (FRAME_BYTES - 1)) + bytes <= FRAME_BYTES;
}

/* For who must leave no trace. */
static bool translate_unnoticed(struct vmx_vcpu *v, struct gva_context *context, u64 linear, enum gva_access access,
                                gpa_t *where)
{
    u32 error;

    context->update_entry = NULL;
    if (v->inner_physical)
        context->read_entry = peek_inner_entry;
    return gva_translate(context, linear, access, where, &error) == GVA_OK &&
           (!v->inner_physical || place(v, access, false, where));
}

bool guest_peek(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 *value)
{
    struct gva_context context;
    gpa_t where;

    guest_fill_context(v, &context);
    context.cpl = 0;
    context.rflags |= RFLAGS_AC; /* SMAP is no matter */
    context.pkru = 0;
    if (context.efer & EFER_LMA ? !gva_is_canonical(linear, context.cr4) : linear > UINT32_MAX)
        return false;
    *value = 0;
    return fits_page(linear, bytes) && translate_unnoticed(v, &context, linear, GVA_READ, &where) &&
           guest_memory_read(&v->base.vm->memory, where, value, bytes) == STATUS_OK;
}

static bool is_power(u8 bytes)
{
    return (bytes & (bytes - 1)) == 0;
}

static u8 bytes_in_page(u64 linear, u8 bytes)
{
    u64 room = FRAME_BYTES - (linear & (FRAME_BYTES - 1));
    return room < bytes ? (u8)room : bytes;
}

/* Outside 64-bit mode linear addresses have 32 bits: an operand across 4 GiB goes on at 0. */
static u64 next_page(const struct vmx_vcpu *v, u64 linear)
{
    u64 next = bits_align_down(linear, FRAME_BYTES) + FRAME_BYTES;
    return guest_is_code64(v) ? next : (u32)next;
}

/* Each page that the operand touches, in rising order. */
static enum guest_access locate(struct vmx_vcpu *v, u64 linear, u8 bytes, enum gva_access access,
                                struct guest_operand *out)
{
    out->linear = linear;
    out->bytes = bytes;
    out->first = bytes_in_page(linear, bytes);
    enum guest_access result = guest_translate(v, linear, access, &out->where[0]);
    if (result == GUEST_ACCESS_OK && out->first < bytes)
        result = guest_translate(v, next_page(v, linear), access, &out->where[1]);
    return result;
}

u64 guest_operand_read(struct vmx_vcpu *v, const struct guest_operand *operand)
{
    u64 value = 0;

    if (fits_page(operand->linear, operand->bytes) && is_power(operand->bytes))
        return guest_physical_read(v, operand->where[0], operand->bytes);
    for (u8 i = 0; i < operand->bytes; i++) {
        u64 where = i < operand->first ? operand->where[0].raw + i : operand->where[1].raw + (i - operand->first);
        value |= guest_physical_read(v, gpa(where), 1) << 8 * i;
    }
    return value;
}

void guest_operand_write(struct vmx_vcpu *v, const struct guest_operand *operand, u64 value)
{
    if (fits_page(operand->linear, operand->bytes) && is_power(operand->bytes)) {
        guest_physical_write(v, operand->where[0], operand->bytes, value & bits_mask_of_bytes(operand->bytes));
        return;
    }
    for (u8 i = 0; i < operand->bytes; i++) {
        u64 where = i < operand->first ? operand->where[0].raw + i : operand->where[1].raw + (i - operand->first);
        guest_physical_write(v, gpa(where), 1, value >> 8 * i & 0xff);
    }
}

enum guest_access guest_read(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 *value)
{
    struct guest_operand operand;
    enum guest_access access = locate(v, linear, bytes, GVA_READ, &operand);

    if (access == GUEST_ACCESS_OK)
        *value = guest_operand_read(v, &operand);
    return access;
}

enum guest_access guest_write(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 value)
{
    struct guest_operand operand;
    enum guest_access access = locate(v, linear, bytes, GVA_WRITE, &operand);

    if (access == GUEST_ACCESS_OK)
        guest_operand_write(v, &operand, value);
    return access;
}

const struct vmcs_nat_rw guest_segment_bases[6] = {{ENCODING_GUEST_ES_BASE}, {ENCODING_GUEST_CS_BASE},
                                                   {ENCODING_GUEST_SS_BASE}, {ENCODING_GUEST_DS_BASE},
                                                   {ENCODING_GUEST_FS_BASE}, {ENCODING_GUEST_GS_BASE}};
static const struct vmcs_32_rw limits[] = {{ENCODING_GUEST_ES_LIMIT}, {ENCODING_GUEST_CS_LIMIT},
                                           {ENCODING_GUEST_SS_LIMIT}, {ENCODING_GUEST_DS_LIMIT},
                                           {ENCODING_GUEST_FS_LIMIT}, {ENCODING_GUEST_GS_LIMIT}};
static const struct vmcs_32_rw rights_of[] = {{ENCODING_GUEST_ES_ACCESS}, {ENCODING_GUEST_CS_ACCESS},
                                              {ENCODING_GUEST_SS_ACCESS}, {ENCODING_GUEST_DS_ACCESS},
                                              {ENCODING_GUEST_FS_ACCESS}, {ENCODING_GUEST_GS_ACCESS}};

u64 guest_linear(const struct vmx_vcpu *v, enum decode_segment segment, u64 offset)
{
    if (!guest_is_code64(v))
        return (u32)(offset + vmcs_read_nat_rw(guest_segment_bases[segment]));
    return segment < DECODE_FS ? offset : offset + vmcs_read_nat_rw(guest_segment_bases[segment]);
}

#define RIGHTS_ACCESSIBLE  BIT(1) /* data: writable; code: readable */
#define RIGHTS_EXPAND_DOWN BIT(2) /* data only */
#define RIGHTS_CODE        BIT(3)
#define RIGHTS_UNUSABLE    BIT(16)

/* Access rights and limit of a segment: SDM 3A 5.3 "Limit Checking", 5.4 "Type Checking"; 3C 24.4.1 for the format. */
static bool segment_allows(enum decode_segment segment, u64 offset, u8 bytes, bool write)
{
    u32 limit = vmcs_read_32_rw(limits[segment]);
    u32 rights = vmcs_read_32_rw(rights_of[segment]);
    u64 last = offset + bytes - 1u;
    bool code = rights & RIGHTS_CODE;

    if (rights & RIGHTS_UNUSABLE || (code && write))
        return false;
    if ((code || write) && !(rights & RIGHTS_ACCESSIBLE))
        return false;
    if (!code && rights & RIGHTS_EXPAND_DOWN)
        return offset > limit && last <= (rights & SEGMENT_BIG ? UINT32_MAX : UINT16_MAX);
    return last <= limit || limit == UINT32_MAX; /* with that limit CPUs wrap, or not */
}

/* SDM 3A 6.15 "Interrupt 17-Alignment Check Exception (#AC)" */
static bool is_misaligned(u64 linear, u8 bytes)
{
    return bytes <= 8 && linear & (bytes - 1u) && vmcs_read(GUEST_RFLAGS) & RFLAGS_AC &&
           vmcs_read(GUEST_CR0) & CR0_AM && (vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL) == SEGMENT_DPL;
}

enum guest_access guest_operand(struct vmx_vcpu *v, enum decode_segment segment, u64 offset, u8 bytes,
                                enum gva_access access, struct guest_operand *out)
{
    u64 linear = guest_linear(v, segment, offset);
    u64 cr4 = vmcs_read(GUEST_CR4);
    bool allowed = guest_is_code64(v) ? gva_is_canonical(linear, cr4) && gva_is_canonical(linear + bytes - 1, cr4)
                                      : segment_allows(segment, offset, bytes, access == GVA_WRITE);

    if (!allowed) {
        vmx_inject_exception(v, segment == DECODE_SS ? VECTOR_SS : VECTOR_GP, 0);
        return GUEST_ACCESS_FAULT;
    }
    enum guest_access result = locate(v, linear, bytes, access, out);
    if (result == GUEST_ACCESS_OK && is_misaligned(linear, bytes)) {
        vmx_inject_exception(v, VECTOR_AC, 0);
        return GUEST_ACCESS_FAULT;
    }
    return result;
}

/* A guest hypervisor cannot be told of a violation and then not. */
static COLD bool find_inner_code(struct vmx_vcpu *v, u64 linear, gpa_t *where)
{
    struct gva_context context;

    guest_fill_context(v, &context);
    return translate_unnoticed(v, &context, linear, GVA_FETCH, where);
}

enum guest_access guest_fetch(struct vmx_vcpu *v, struct guest_code *out)
{
    const struct guest_memory *memory = &v->base.vm->memory;
    u64 linear = guest_linear_rip(v);
    gpa_t where;

    enum guest_access access = translate(v, linear, GVA_FETCH, &out->where, &out->path);
    if (access != GUEST_ACCESS_OK)
        return access;
    u64 room = FRAME_BYTES - (linear & (FRAME_BYTES - 1));
    u8 first = room < GUEST_CODE_BYTES ? (u8)room : GUEST_CODE_BYTES;
    if (guest_memory_read(memory, out->where, out->bytes, first) != STATUS_OK)
        return GUEST_ACCESS_STOP;
    out->count = first;
    if (first == GUEST_CODE_BYTES)
        return GUEST_ACCESS_OK;
    /* The instruction may well end before the boundary: a fault on the next page counts only if it does not. */
    struct vmx_event before = v->exception;
    u64 cr2 = cr2_read();
    bool found = UNLIKELY(v->inner_physical) ? find_inner_code(v, linear + first, &where)
                                             : guest_translate(v, linear + first, GVA_FETCH, &where) == GUEST_ACCESS_OK;
    if (found && guest_memory_read(memory, where, out->bytes + first, GUEST_CODE_BYTES - first) == STATUS_OK) {
        out->count = GUEST_CODE_BYTES;
        return GUEST_ACCESS_OK;
    }
    v->exception = before;
    cr2_write(cr2);
    return GUEST_ACCESS_OK;
}
