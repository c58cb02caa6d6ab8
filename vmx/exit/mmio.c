/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * EPT violations: in steady state an access to a device, to ROM, or to nothing. The path here is that of a plain load
 * or store that this vCPU has made before: its decoded form is in a slot, the CPU has told where the operand is and
 * made all checks of the access, and so nothing is left but to ask the device. Everything else: mmio_general.c.
 * SDM 3C 28.2.3.2 "EPT Violations", 27.2.1 "Basic VM-Exit Information" for the qualification.
 */
#include "vmx/exit/mmio.h"
#include "arch/x86/cpu.h"
#include "kernel/trace/trace.h"
#include "vmx/cow.h"
#include "vmx/event.h"
#include "vmx/fetch.h"
#include "vmx/insn/guest.h"

/*
 * The violation was met while the CPU delivered an event (its tables or stack are not in RAM) or fetched an
 * instruction. Hardware without a hypervisor reads all ones there: an IDT gate of ones is #GP, whose delivery fails
 * alike, down to a triple fault; the instruction FF FF is #UD.
 */
static COLD enum outcome not_an_operand(struct vmx_vcpu *v, u64 qualification)
{
    enum outcome outcome;

    if (vmx_cow_violation(v, qualification, &outcome))
        return outcome;
    if (qualification & VIOLATION_FETCH && vmx_fetch_violation(v, qualification, &outcome))
        return outcome;
    if (vmcs_read(IDT_VECTORING_INFO) & EVENT_VALID) {
        vm_stop(v->base.vm, VM_STOP_TRIPLE_FAULT,
                "what=\"event delivery through memory that does not exist\" rip=0x%lx "
                "address=0x%lx",
                vmcs_read(GUEST_RIP), vmcs_read(GUEST_PHYSICAL_ADDRESS));
        return OUTCOME_STOP;
    }
    guest_physical_is_stray(v, gpa(vmcs_read(GUEST_PHYSICAL_ADDRESS)), 1);
    if (qualification & VIOLATION_FINAL)
        return vmx_inject_ud(v);
    gpa_t ignored;
    u64 linear = vmcs_read(GUEST_LINEAR_ADDRESS);
    if (guest_translate(v, linear, GVA_FETCH, &ignored) == GUEST_ACCESS_FAULT)
        return OUTCOME_RESUME;
    return vmx_inject_ud(v);
}

/*
 * Whether the CPU's mode is that of the slot, and its page tables are those of the slot or begin alike. EFER without
 * LMA, and CR0.PG, are the mode; a base of CS counts outside 64-bit mode only (guest_linear_rip).
 */
static ALWAYS_INLINE bool is_same_mode(struct vmx_vcpu *v, struct mmio_slot *slot, u64 rip)
{
    /* VMREAD first: then the comparison takes its other side from memory. */
    bool same = LIKELY(rip == slot->rip) && LIKELY(vmcs_read(GUEST_CS_ACCESS) == slot->cs_access) &&
                LIKELY(v->efer == slot->efer) && LIKELY(vmcs_read(GUEST_CR4) == slot->cr4) &&
                LIKELY((((u32)vmcs_read(GUEST_CR0) ^ slot->paging) & (u32)CR0_PG) == 0);
    if (UNLIKELY(!same))
        return false;
    if (slot->insn.mode != DECODE_64 && UNLIKELY(vmcs_read(GUEST_CS_BASE) != slot->cs_base))
        return false;
    u64 cr3 = vmcs_read(GUEST_CR3);
    return LIKELY(slot->cr3 == cr3) || mmio_slot_follow_cr3(v, slot, cr3);
}

static ALWAYS_INLINE u64 load_code(const u8 *code)
{
    u64 value;
    __builtin_memcpy(&value, code, sizeof value);
    return value;
}

/* Whether guest memory still holds the page-table entries and the bytes that the slot was made from. */
static ALWAYS_INLINE bool is_unchanged(const struct mmio_slot *slot)
{
#pragma GCC unroll 4
    for (u32 i = 0; i < MMIO_LEVELS; i++)
        if (UNLIKELY(__atomic_load_n(slot->levels[i].at, __ATOMIC_RELAXED) != slot->levels[i].value))
            return false;
    return LIKELY((load_code(slot->code) & slot->masks[0]) == slot->bytes[0]) &&
           LIKELY((load_code(slot->code + 8) & slot->masks[1]) == slot->bytes[1]);
}

/*
 * Whether the CPU speaks of just the access that the slot's instruction makes: if another CPU replaced the instruction
 * after this one had fetched it, it may be another; and the second half of one that crosses pages begins elsewhere.
 */
static ALWAYS_INLINE bool is_its_access(const struct mmio_slot *slot, u64 qualification, u64 physical)
{
    if (UNLIKELY(~qualification & slot->needs))
        return false;
    u64 linear = (*slot->base + (*slot->index << slot->insn.scale) + slot->displacement) & slot->offset_mask;
    if (slot->segment_base.encoding)
        linear += vmcs_read_nat_rw(slot->segment_base);
    return LIKELY(((linear ^ vmcs_read(GUEST_LINEAR_ADDRESS)) & slot->linear_mask) == 0) &&
           LIKELY((physical & (FRAME_BYTES - 1)) + slot->insn.width <= FRAME_BYTES);
}

static COLD u64 sign_extend(u64 value, u8 bytes)
{
    unsigned shift = 64u - 8u * bytes;
    return (u64)((s64)(value << shift) >> shift);
}

static ALWAYS_INLINE void access_device(struct vmx_vcpu *v, const struct mmio_slot *slot, gpa_t physical)
{
    const struct decode_insn *insn = &slot->insn;
    u64 *gpr = &v->gpr[insn->register_index];

    if (insn->form == DECODE_REGISTER_MEMORY) {
        u64 value = guest_physical_read(v, physical, insn->width);
        if (UNLIKELY(insn->operation == DECODE_MOVSX))
            value = sign_extend(value, insn->width);
        *gpr = (*gpr & slot->kept_mask) | (value & slot->value_mask);
    } else {
        u64 value = insn->form == DECODE_MEMORY_REGISTER ? *gpr : insn->immediate;
        guest_physical_write(v, physical, insn->width, value & slot->value_mask);
    }
}

static NOINLINE enum outcome run(struct vmx_vcpu *v, struct mmio_slot *slot, u64 rip, u64 qualification)
{
    if (UNLIKELY(!is_same_mode(v, slot, rip)) || UNLIKELY(!is_unchanged(slot)))
        return mmio_run_unknown(v, slot, qualification);
    gpa_t physical = gpa(vmcs_read(GUEST_PHYSICAL_ADDRESS)); /* again: to keep it in a register so long costs more */
    if (UNLIKELY(!is_its_access(slot, qualification, physical.raw)))
        return mmio_run_decoded(v, &slot->insn, (const u8 *)slot->bytes, qualification);
    v->skip_bytes = slot->insn.length;
    access_device(v, slot, physical);
    return OUTCOME_SKIP_DECODED;
}

/* Without a qualification of EPT violations no access is taken for the slot's, wherever it goes. */
enum outcome vmx_mmio_execute(struct vmx_vcpu *v, const struct trace_record *record)
{
    return run(v, &v->mmio[mmio_slot_index(record->rip)], record->rip, 0);
}

enum outcome vmx_ept_violation_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    u64 rip = record->rip;

    record->detail = vmcs_read(GUEST_PHYSICAL_ADDRESS);
    if (UNLIKELY(qualification & VIOLATION_FETCH) || UNLIKELY(vmcs_read(IDT_VECTORING_INFO) & EVENT_VALID))
        return not_an_operand(v, qualification);
    return run(v, &v->mmio[mmio_slot_index(rip)], rip, qualification);
}
