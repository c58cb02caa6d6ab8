/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any instruction that met a device, ROM or nothing: it is fetched through the guest's own page tables, decoded and
 * executed on the bus; what cannot be is reported with its bytes. SDM 3C 28.2.3.2 "EPT Violations".
 *
 * Fills the slots that spare the next one all but the last of it. A slot is not made of an instruction whose bytes or
 * page tables cannot be compared with one pointer each: near the end of a page, in PAE paging or 5-level paging, or
 * outside RAM.
 */
#include "vmx/exit/mmio.h"
#include "arch/x86/cpu.h"
#include "arch/x86/xsave.h"
#include "kernel/lib/format.h"
#include "vmx/insn/emulate.h"
#include "vmx/cow.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"
#include "vmx/insn/vector.h"
#include "vmx/points.h"

static enum emulate_outcome outcome_of(enum guest_access access)
{
    return access == GUEST_ACCESS_OK ? EMULATE_OK : access == GUEST_ACCESS_FAULT ? EMULATE_FAULT : EMULATE_UNSUPPORTED;
}

/*
 * The access that caused the exit: the CPU has translated its address and made all checks. An operand that begins there
 * needs no walk of its own, if the CPU asked for at least as much.
 */
struct access {
    struct vmx_vcpu *v;
    u64 qualification;
    u64 linear;
    gpa_t physical;
};

static bool is_translated(const struct access *a, u64 linear, u8 bytes, u64 any)
{
    u64 needs = VIOLATION_LINEAR_VALID | VIOLATION_FINAL;

    return linear == a->linear && (a->qualification & needs) == needs && a->qualification & any &&
           (linear & (FRAME_BYTES - 1)) + bytes <= FRAME_BYTES;
}

static enum emulate_outcome call_read(void *context, u64 linear, u8 bytes, u64 *value)
{
    struct access *a = context;

    if (UNLIKELY(a->v->debug_used))
        vmx_points_note(a->v, linear, bytes, false);
    if (!is_translated(a, linear, bytes, VIOLATION_READ | VIOLATION_WRITE)) /* what may write may read */
        return outcome_of(guest_read(a->v, linear, bytes, value));
    *value = guest_physical_read(a->v, a->physical, bytes);
    return EMULATE_OK;
}

static enum emulate_outcome call_write(void *context, u64 linear, u8 bytes, u64 value)
{
    struct access *a = context;

    if (UNLIKELY(a->v->debug_used))
        vmx_points_note(a->v, linear, bytes, true);
    if (!is_translated(a, linear, bytes, VIOLATION_WRITE))
        return outcome_of(guest_write(a->v, linear, bytes, value));
    guest_physical_write(a->v, a->physical, bytes, value);
    return EMULATE_OK;
}

static u64 call_base(void *context, enum decode_segment segment)
{
    (void)context;
    return vmcs_read_nat_rw(guest_segment_bases[segment]);
}

static enum emulate_outcome call_check(void *context, enum decode_segment segment, u64 offset, u8 bytes, bool write)
{
    struct access *a = context;
    struct guest_operand ignored;

    if (is_translated(a, guest_linear(a->v, segment, offset), bytes,
                      write ? VIOLATION_WRITE : VIOLATION_READ | VIOLATION_WRITE))
        return EMULATE_OK;
    return outcome_of(guest_operand(a->v, segment, offset, bytes, write ? GVA_WRITE : GVA_READ, &ignored));
}

static enum emulate_outcome call_raise(void *context, u8 vector)
{
    struct access *a = context;

    vmx_inject_exception(a->v, vector, 0);
    return EMULATE_FAULT;
}

static u64 call_cr0(void *context)
{
    u64 mask = vmcs_read(CR0_MASK);

    (void)context;
    return (vmcs_read(GUEST_CR0) & ~mask) | (vmcs_read(CR0_SHADOW) & mask);
}

static u8 call_stack_width(void *context)
{
    (void)context;
    return vmcs_read(GUEST_SS_ACCESS) & SEGMENT_BIG ? 4 : 2;
}

/* SDM 2A 3.2 "CPUID - CPU Identification": BMI1, LZCNT. */
static COLD bool call_has_tzcnt(void *context)
{
    (void)context;
    return cpu_cpuid(0, 0).eax >= 7 && cpu_cpuid(7, 0).ebx & BIT(3);
}

static COLD bool call_has_lzcnt(void *context)
{
    (void)context;
    return cpu_cpuid(0x80000001, 0).ecx & BIT(5);
}

static COLD enum emulate_outcome call_check_branch(void *context, u64 rip)
{
    struct access *a = context;
    bool allowed =
        guest_is_code64(a->v) ? gva_is_canonical(rip, vmcs_read(GUEST_CR4)) : rip <= vmcs_read(GUEST_CS_LIMIT);

    return allowed ? EMULATE_OK : call_raise(context, VECTOR_GP);
}

/*
 * The CPU has checked this before the access that exited; but another CPU may have replaced the instruction meanwhile,
 * and we must not raise the exception ourselves. SDM 3A table 13-1 "Action Taken for Combinations of OSFXSR,
 * OSXMMEXCPT, SSE, SSE2, SSE3, EM, MP, and TS"; 2A 2.3 for VEX.
 */
static COLD enum emulate_outcome call_check_vector(void *context, bool vex)
{
    u64 cr0 = vmcs_read(GUEST_CR0);
    u64 cr4 = vmcs_read(GUEST_CR4);
    u64 avx = XCR0_SSE | XCR0_AVX;
    bool enabled = vex ? cr0 & CR0_PE && cr4 & CR4_OSXSAVE && xsave_is_available() && (xcr0_read() & avx) == avx
                       : !(cr0 & CR0_EM) && cr4 & CR4_OSFXSR;

    if (!enabled)
        return call_raise(context, VECTOR_UD);
    return cr0 & CR0_TS ? call_raise(context, VECTOR_NM) : EMULATE_OK;
}

/* The CPU still has the guest's registers: the kernel is compiled to use none of them. */
static COLD void call_read_vector(void *context, u8 index, bool vex, u64 value[4])
{
    (void)context;
    vector_read(index, value, vex);
}

static COLD void call_write_vector(void *context, u8 index, bool vex, const u64 value[4])
{
    (void)context;
    vector_write(index, value, vex);
}

static const struct emulate_calls calls = {
    .read = call_read,
    .write = call_write,
    .check = call_check,
    .segment_base = call_base,
    .raise = call_raise,
    .cr0 = call_cr0,
    .stack_width = call_stack_width,
    .has_tzcnt = call_has_tzcnt,
    .has_lzcnt = call_has_lzcnt,
    .check_branch = call_check_branch,
    .check_vector = call_check_vector,
    .read_vector = call_read_vector,
    .write_vector = call_write_vector,
};

static enum decode_mode mode(const struct vmx_vcpu *v)
{
    if (guest_is_code64(v))
        return DECODE_64;
    return vmcs_read(GUEST_CS_ACCESS) & SEGMENT_BIG ? DECODE_32 : DECODE_16;
}

static COLD enum outcome stop_unsupported(struct vmx_vcpu *v, const u8 *bytes, u8 count)
{
    char text[2 * DECODE_MAX_BYTES + 1] = "none";

    for (u8 i = 0; i < count; i++)
        format_text(text + 2 * i, 3, "%02x", bytes[i]);
    vm_stop(v->base.vm, VM_STOP_UNSUPPORTED_INSTRUCTION, "rip=0x%lx bytes=%s address=0x%lx", vmcs_read(GUEST_RIP), text,
            vmcs_read(GUEST_PHYSICAL_ADDRESS));
    return OUTCOME_STOP;
}

static void write_back_flags(u64 old, u64 flags)
{
    if (old != flags)
        vmcs_write(GUEST_RFLAGS, flags);
}

enum outcome mmio_run_decoded(struct vmx_vcpu *v, const struct decode_insn *insn, const u8 *bytes, u64 qualification)
{
    struct access access = {v, qualification, vmcs_read(GUEST_LINEAR_ADDRESS), gpa(vmcs_read(GUEST_PHYSICAL_ADDRESS))};
    u64 flags = vmcs_read(GUEST_RFLAGS);
    u64 rip = vmcs_read(GUEST_RIP);
    u64 old = flags;
    u64 target;
    u8 advance;
    struct emulate_env env = {&calls, &access, v->gpr, &flags, rip, &target};

    v->points_met = 0;
    v->gpr[GPR_RSP] = vmcs_read(GUEST_RSP);
    switch (emulate_instruction(&env, insn, &advance)) {
    case EMULATE_OK:
        v->skip_bytes = advance;
        break;
    case EMULATE_JUMP:
        v->skip_bytes = target - rip;
        break;
    case EMULATE_FAULT:
        v->points_met = 0;
        return OUTCOME_RESUME;
    default:
        return stop_unsupported(v, bytes, insn->length);
    }
    write_back_flags(old, flags);
    vmcs_write(GUEST_RSP, v->gpr[GPR_RSP]);
    if (advance == 0) {
        (void)vmx_points_finish_iteration(v);
        return OUTCOME_RESUME;
    }
    return OUTCOME_SKIP_DECODED;
}

/* A load or store that needs nothing but the device; else `needs` stays MMIO_NO_SHORTCUT. RSP is not in gpr[]. */
static void set_shortcut(struct vmx_vcpu *v, struct mmio_slot *slot)
{
    static const u64 zero;
    const struct decode_insn *insn = &slot->insn;
    bool plain = insn->operation == DECODE_MOV || insn->operation == DECODE_MOVZX || insn->operation == DECODE_MOVSX;
    bool uses_rsp = insn->base == GPR_RSP || (insn->form != DECODE_MEMORY_IMMEDIATE && insn->register_index == GPR_RSP);

    slot->needs = MMIO_NO_SHORTCUT;
    if (!plain || uses_rsp || insn->high_byte || v->debug_used)
        return;
    slot->needs = VIOLATION_LINEAR_VALID | VIOLATION_FINAL |
                  (insn->form == DECODE_REGISTER_MEMORY ? VIOLATION_READ : VIOLATION_WRITE);
    slot->base = insn->base < 16 ? &v->gpr[insn->base] : &zero;
    slot->index = insn->index < 16 ? &v->gpr[insn->index] : &zero;
    slot->displacement = insn->displacement + (insn->base == DECODE_REGISTER_RIP ? slot->rip + insn->length : 0);
    slot->offset_mask = bits_mask_of_bytes(insn->address_width);
    slot->linear_mask = insn->mode == DECODE_64 ? ~0ull : 0xffffffff;
    slot->value_mask = bits_mask_of_bytes(insn->register_width);
    slot->kept_mask = insn->register_width < 4 ? ~slot->value_mask : 0;
    slot->segment_base = guest_segment_bases[insn->segment];
    if (insn->mode == DECODE_64 && insn->segment < DECODE_FS)
        slot->segment_base.encoding = 0;
}

/* The levels of a slot from the entries of the walk. Two entries of four bytes are compared as one piece. */
static bool set_levels(const struct vmx_vcpu *v, struct mmio_slot *slot, const struct gva_path *path)
{
    if (path->used > MMIO_LEVELS)
        return false;
    for (u32 i = 0; i < MMIO_LEVELS; i++) {
        slot->levels[i].at = &slot->levels[i].value;
        if (i >= path->used)
            continue;
        u64 address = path->entries[i].address;
        const u64 *at = guest_memory_view(&v->base.vm->memory, gpa(bits_align_down(address, 8)), 8);
        if (!at)
            return false;
        u64 value = __atomic_load_n(at, __ATOMIC_RELAXED);
        if ((value >> 8 * (address & 7) & bits_mask_of_bytes(path->entry_bytes)) != path->entries[i].value)
            return false;
        slot->levels[i].at = at;
        slot->levels[i].value = value;
    }
    return true;
}

#define CR3_TABLE 0x000ffffffffff000ull

bool mmio_slot_follow_cr3(const struct vmx_vcpu *v, struct mmio_slot *slot, u64 cr3)
{
    u64 offset = (u64)(uintptr_t)slot->levels[0].at & (FRAME_BYTES - 1);

    if (slot->paging) {
        const u64 *at = guest_memory_view(&v->base.vm->memory, gpa((cr3 & CR3_TABLE) + offset), 8);
        if (!at)
            return false;
        slot->levels[0].at = at;
    }
    slot->cr3 = cr3;
    return true;
}

/* Fills the slot; if the instruction cannot be kept, it is left empty. One of an inner guest with EPT would need more
 * than its own page tables to be compared. */
static void keep(struct vmx_vcpu *v, struct mmio_slot *slot, const struct guest_code *code,
                 const struct decode_insn *insn)
{
    u64 cr4 = vmcs_read(GUEST_CR4);
    u32 paging = (u32)vmcs_read(GUEST_CR0) & (u32)CR0_PG;

    slot->cs_access = 0;
    if (v->inner_physical || (paging && (cr4 & CR4_PAE) && !(guest_efer(v) & EFER_LMA)) ||
        !set_levels(v, slot, &code->path))
        return;
    slot->code = guest_memory_view(&v->base.vm->memory, code->where, MMIO_CODE_BYTES);
    if (!slot->code || (code->where.raw & (FRAME_BYTES - 1)) > FRAME_BYTES - MMIO_CODE_BYTES)
        return;
    u8 *bytes = (u8 *)slot->bytes;
    u8 *masks = (u8 *)slot->masks;
    for (u32 i = 0; i < MMIO_CODE_BYTES; i++) {
        bytes[i] = i < insn->length ? code->bytes[i] : 0;
        masks[i] = i < insn->length ? 0xff : 0;
    }
    slot->rip = vmcs_read(GUEST_RIP);
    slot->cs_base = insn->mode == DECODE_64 ? 0 : vmcs_read(GUEST_CS_BASE);
    slot->cr3 = vmcs_read(GUEST_CR3);
    slot->cr4 = cr4;
    slot->efer = v->efer;
    slot->paging = paging;
    slot->insn = *insn;
    set_shortcut(v, slot);
    slot->cs_access = vmcs_read(GUEST_CS_ACCESS);
}

enum outcome mmio_run_unknown(struct vmx_vcpu *v, struct mmio_slot *slot, u64 qualification)
{
    struct decode_insn insn;
    struct guest_code code;
    enum outcome outcome;

    if (qualification && vmx_cow_violation(v, qualification, &outcome))
        return outcome;
    /* Not the operand, but a page-table entry on the way to it. */
    if ((qualification & (VIOLATION_LINEAR_VALID | VIOLATION_FINAL)) == VIOLATION_LINEAR_VALID)
        guest_physical_is_stray(v, gpa(vmcs_read(GUEST_PHYSICAL_ADDRESS)), 8);
    switch (guest_fetch(v, &code)) {
    case GUEST_ACCESS_OK:
        break;
    case GUEST_ACCESS_FAULT:
        return OUTCOME_RESUME;
    default:
        return stop_unsupported(v, code.bytes, 0);
    }
    switch (decode_instruction(code.bytes, code.count, mode(v), &insn)) {
    case STATUS_OK:
        keep(v, slot, &code, &insn);
        return mmio_run_decoded(v, &insn, code.bytes, qualification);
    case STATUS_INVALID:
        return vmx_inject_ud(v);
    default:
        return stop_unsupported(v, code.bytes, code.count);
    }
}
