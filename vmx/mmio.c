/*
 * EPT violations: in steady state an access to a device, to ROM, or to nothing. The instruction is fetched, decoded and
 * executed on the bus; what cannot be is reported with its bytes. SDM 3C 28.2.3.2 "EPT Violations", 27.2.1 for the
 * qualification.
 */
#include "arch/x86/cpu.h"
#include "kernel/lib/format.h"
#include "vmx/decode.h"
#include "vmx/emulate.h"
#include "vmx/event.h"
#include "vmx/guest.h"
#include "vmx/vcpu.h"

#define VIOLATION_FETCH        BIT(2)
#define VIOLATION_LINEAR_VALID BIT(7)
#define VIOLATION_FINAL        BIT(8) /* the access itself, not the walk of the guest's page tables */

static enum emulate_outcome outcome_of(enum guest_access access)
{
    return access == GUEST_ACCESS_OK ? EMULATE_OK : access == GUEST_ACCESS_FAULT ? EMULATE_FAULT : EMULATE_UNSUPPORTED;
}

static enum emulate_outcome call_read(void *context, u64 linear, u8 bytes, u64 *value)
{
    return outcome_of(guest_read(context, linear, bytes, value));
}

static enum emulate_outcome call_write(void *context, u64 linear, u8 bytes, u64 value)
{
    return outcome_of(guest_write(context, linear, bytes, value));
}

/* In the order of segment register encodings, as enum decode_segment. */
static const struct vmcs_nat_rw bases[] = {{0x6806}, {0x6808}, {0x680a}, {0x680c}, {0x680e}, {0x6810}};
static const struct vmcs_32_rw limits[] = {{0x4800}, {0x4802}, {0x4804}, {0x4806}, {0x4808}, {0x480a}};
static const struct vmcs_32_rw rights_of[] = {{0x4814}, {0x4816}, {0x4818}, {0x481a}, {0x481c}, {0x481e}};

static u64 call_base(void *context, enum decode_segment segment)
{
    (void)context;
    return vmcs_read_nat_rw(bases[segment]);
}

static void call_bounds(void *context, enum decode_segment segment, u32 *limit, u32 *rights)
{
    (void)context;
    *limit = vmcs_read_32_rw(limits[segment]);
    *rights = vmcs_read_32_rw(rights_of[segment]);
}

static const struct emulate_calls calls = {call_read, call_write, call_base, call_bounds};

static enum decode_mode mode(void)
{
    u32 access = vmcs_read(GUEST_CS_ACCESS);

    if ((vmcs_read(GUEST_EFER) & EFER_LMA) && (access & SEGMENT_LONG))
        return DECODE_64;
    return access & 0x4000 ? DECODE_32 : DECODE_16; /* CS.D */
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

static enum outcome execute(struct vmx_vcpu *v, const struct decode_insn *insn, const u8 *bytes)
{
    u64 flags = vmcs_read(GUEST_RFLAGS);
    u64 rip = vmcs_read(GUEST_RIP);
    u64 old = flags;
    u8 advance;
    struct emulate_env env = {&calls, v, v->gpr, &flags, rip};

    v->gpr[GPR_RSP] = vmcs_read(GUEST_RSP);
    switch (emulate_instruction(&env, insn, &advance)) {
    case EMULATE_OK:
        break;
    case EMULATE_FAULT:
        return OUTCOME_RESUME;
    default:
        return stop_unsupported(v, bytes, insn->length);
    }
    write_back_flags(old, flags);
    vmcs_write(GUEST_RSP, v->gpr[GPR_RSP]);
    if (advance == 0)
        return OUTCOME_RESUME;
    v->skip_bytes = advance;
    return OUTCOME_SKIP_DECODED;
}

/*
 * The violation was met while the CPU delivered an event (its tables or stack are not in RAM) or fetched an
 * instruction. Hardware without a hypervisor reads all ones there: an IDT gate of ones is #GP, whose delivery fails
 * alike, down to a triple fault; the instruction FF FF is #UD.
 */
static enum outcome not_an_operand(struct vmx_vcpu *v, u64 qualification)
{
    if (vmcs_read(IDT_VECTORING_INFO) & EVENT_VALID) {
        vm_stop(v->base.vm, VM_STOP_TRIPLE_FAULT,
                "what=\"event delivery through memory that does not exist\" rip=0x%lx "
                "address=0x%lx",
                vmcs_read(GUEST_RIP), vmcs_read(GUEST_PHYSICAL_ADDRESS));
        return OUTCOME_STOP;
    }
    if (qualification & VIOLATION_FINAL)
        return vmx_inject_ud(v);
    gpa_t ignored;
    u64 linear = vmcs_read(GUEST_LINEAR_ADDRESS);
    if (guest_translate(v, linear, GVA_FETCH, &ignored) == GUEST_ACCESS_FAULT)
        return OUTCOME_RESUME;
    return vmx_inject_ud(v);
}

enum outcome vmx_mmio_execute(struct vmx_vcpu *v)
{
    struct decode_insn insn;
    u8 bytes[DECODE_MAX_BYTES];
    u8 got = 0;

    switch (guest_fetch(v, bytes, sizeof bytes, &got)) {
    case GUEST_ACCESS_OK:
        break;
    case GUEST_ACCESS_FAULT:
        return OUTCOME_RESUME;
    default:
        return stop_unsupported(v, bytes, 0);
    }
    switch (decode_instruction(bytes, got, mode(), &insn)) {
    case STATUS_OK:
        return execute(v, &insn, bytes);
    case STATUS_INVALID:
        return vmx_inject_ud(v);
    default:
        return stop_unsupported(v, bytes, got);
    }
}

enum outcome vmx_ept_violation_exit(struct vmx_vcpu *v)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);

    if ((qualification & VIOLATION_FETCH) || (vmcs_read(IDT_VECTORING_INFO) & EVENT_VALID))
        return not_an_operand(v, qualification);
    return vmx_mmio_execute(v);
}
