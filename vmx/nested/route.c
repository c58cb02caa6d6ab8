/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See route.h. SDM 3D Appendix C "VMX Basic Exit Reasons" has the numbers.
 */
#include "vmx/nested/route.h"
#include "arch/x86/regs.h"
#include "kernel/lib/bits.h"
#include "vmx/controls.h"

#define PROC2_ENCLS 0x00008000u

/*
 * ALWAYS: the guest hypervisor's; NEVER: Rootlet's; PROC, PROC2: the guest hypervisor's if it has set one of these
 * controls; the others have a line of their own in asks_for().
 */
enum rule {
    RULE_NEVER, /* a reason without a row, too */
    RULE_ALWAYS,
    RULE_PROC,
    RULE_PROC2,
    RULE_EXCEPTION,
    RULE_CR,
    RULE_IO,
    RULE_RDMSR,
    RULE_WRMSR,
    RULE_VMREAD,
    RULE_VMWRITE,
    RULE_VMFUNC,
    RULE_PAUSE,
    RULE_EPT,
    RULE_RDTSCP,
    RULE_INVPCID,
    RULE_TIMER,
    RULE_XSAVES,
};

/*
 * R(reason, name, rule, controls, section). The sections: SDM 3C 25.1.2 "Instructions That Cause VM Exits
 * Unconditionally", 25.1.3 "Instructions That Cause VM Exits Conditionally", 25.2 "Other Causes of VM Exits", 25.5.1
 * "VMX-Preemption Timer", 25.5.2 "Monitor Trap Flag", 25.5.5.2 "General Operation of the VMFUNC Instruction", 26.7
 * "VM-Entry Failures During or After Loading Guest State", 28.2.3 "EPT-Induced VM Exits", 28.2.5 "Page-Modification
 * Logging", 29.1.2 "TPR Virtualization", 29.1.4 "EOI Virtualization", 29.4 "Virtualizing Memory-Mapped APIC Accesses",
 * 29.4.3.3 "APIC-Write VM Exits".
 *
 * Why some are never the guest hypervisor's: interrupts, NMIs, INIT and SMIs that reach the CPU are the machine's
 * (those of the guest come by way of its virtual APIC, and are no exits of the CPU); it enters nobody in wait-for-SIPI;
 * what makes an entry fail has been found by the checker; RSM exits in SMM only; a page-modification log it is not
 * offered. GETSEC to XSETBV are exits in any VMX non-root operation. Of the monitor trap flag all exits are the guest
 * hypervisor's, since Rootlet does not use it: one that is injected comes without the control (SDM 3C 26.5.2 "Injection
 * of Pending MTF VM Exits").
 */
#define ROUTES(R)                                                                                                      \
    R(0, exception_or_nmi, EXCEPTION, 0, "25.2")                                                                       \
    R(1, external_interrupt, NEVER, 0, "25.2")                                                                         \
    R(2, triple_fault, ALWAYS, 0, "25.2")                                                                              \
    R(3, init, NEVER, 0, "25.2")                                                                                       \
    R(4, sipi, NEVER, 0, "25.2")                                                                                       \
    R(5, io_smi, NEVER, 0, "25.2")                                                                                     \
    R(6, other_smi, NEVER, 0, "25.2")                                                                                  \
    R(7, interrupt_window, PROC, PROC_INTERRUPT_WINDOW, "25.2")                                                        \
    R(8, nmi_window, PROC, PROC_NMI_WINDOW, "25.2")                                                                    \
    R(9, task_switch, ALWAYS, 0, "25.2")                                                                               \
    R(10, cpuid, ALWAYS, 0, "25.1.2")                                                                                  \
    R(11, getsec, ALWAYS, 0, "25.1.2")                                                                                 \
    R(12, hlt, PROC, PROC_HLT_EXITING, "25.1.3")                                                                       \
    R(13, invd, ALWAYS, 0, "25.1.2")                                                                                   \
    R(14, invlpg, PROC, PROC_INVLPG_EXITING, "25.1.3")                                                                 \
    R(15, rdpmc, PROC, PROC_RDPMC_EXITING, "25.1.3")                                                                   \
    R(16, rdtsc, PROC, PROC_RDTSC_EXITING, "25.1.3")                                                                   \
    R(17, rsm, NEVER, 0, "25.1.3")                                                                                     \
    R(18, vmcall, ALWAYS, 0, "25.1.2")                                                                                 \
    R(19, vmclear, ALWAYS, 0, "25.1.2")                                                                                \
    R(20, vmlaunch, ALWAYS, 0, "25.1.2")                                                                               \
    R(21, vmptrld, ALWAYS, 0, "25.1.2")                                                                                \
    R(22, vmptrst, ALWAYS, 0, "25.1.2")                                                                                \
    R(23, vmread, VMREAD, 0, "25.1.3")                                                                                 \
    R(24, vmresume, ALWAYS, 0, "25.1.2")                                                                               \
    R(25, vmwrite, VMWRITE, 0, "25.1.3")                                                                               \
    R(26, vmxoff, ALWAYS, 0, "25.1.2")                                                                                 \
    R(27, vmxon, ALWAYS, 0, "25.1.2")                                                                                  \
    R(28, cr_access, CR, 0, "25.1.3")                                                                                  \
    R(29, mov_dr, PROC, PROC_MOV_DR_EXITING, "25.1.3")                                                                 \
    R(30, io, IO, 0, "25.1.3")                                                                                         \
    R(31, rdmsr, RDMSR, 0, "25.1.3")                                                                                   \
    R(32, wrmsr, WRMSR, 0, "25.1.3")                                                                                   \
    R(33, invalid_guest_state, NEVER, 0, "26.7")                                                                       \
    R(34, msr_loading, NEVER, 0, "26.7")                                                                               \
    R(36, mwait, PROC, PROC_MWAIT_EXITING, "25.1.3")                                                                   \
    R(37, monitor_trap_flag, ALWAYS, 0, "25.5.2")                                                                      \
    R(39, monitor, PROC, PROC_MONITOR_EXITING, "25.1.3")                                                               \
    R(40, pause, PAUSE, 0, "25.1.3")                                                                                   \
    R(41, entry_machine_check, NEVER, 0, "26.7")                                                                       \
    R(43, tpr_below_threshold, PROC, PROC_TPR_SHADOW, "29.1.2")                                                        \
    R(44, apic_access, PROC2, PROC2_APIC_ACCESSES, "29.4")                                                             \
    R(45, virtualized_eoi, PROC2, PROC2_VIRTUAL_INTERRUPTS, "29.1.4")                                                  \
    R(46, gdtr_or_idtr, PROC2, PROC2_DESCRIPTOR_TABLE, "25.1.3")                                                       \
    R(47, ldtr_or_tr, PROC2, PROC2_DESCRIPTOR_TABLE, "25.1.3")                                                         \
    R(48, ept_violation, EPT, 0, "28.2.3")                                                                             \
    R(49, ept_misconfiguration, EPT, 0, "28.2.3")                                                                      \
    R(50, invept, ALWAYS, 0, "25.1.2")                                                                                 \
    R(51, rdtscp, RDTSCP, 0, "25.1.3")                                                                                 \
    R(52, preemption_timer, TIMER, 0, "25.5.1")                                                                        \
    R(53, invvpid, ALWAYS, 0, "25.1.2")                                                                                \
    R(54, wbinvd, PROC2, PROC2_WBINVD_EXITING, "25.1.3")                                                               \
    R(55, xsetbv, ALWAYS, 0, "25.1.2")                                                                                 \
    R(56, apic_write, PROC2, PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS, "29.4.3.3")                              \
    R(57, rdrand, PROC2, PROC2_RDRAND_EXITING, "25.1.3")                                                               \
    R(58, invpcid, INVPCID, 0, "25.1.3")                                                                               \
    R(59, vmfunc, VMFUNC, 0, "25.5.5.2")                                                                               \
    R(60, encls, PROC2, PROC2_ENCLS, "25.1.3")                                                                         \
    R(61, rdseed, PROC2, PROC2_RDSEED_EXITING, "25.1.3")                                                               \
    R(62, page_modification_log_full, NEVER, 0, "28.2.5")                                                              \
    R(63, xsaves, XSAVES, 0, "25.1.3")                                                                                 \
    R(64, xrstors, XSAVES, 0, "25.1.3")

#define DEFINE_ROW(reason, name, rule, controls, section) [reason] = {controls, RULE_##rule},
static const struct {
    u32 controls;
    u8 rule;
} rows[] = {ROUTES(DEFINE_ROW)};

#define ALWAYS_BIT(reason, name, rule, controls, section)                                                              \
    | ((reason) < 64 && RULE_##rule == RULE_ALWAYS ? BIT((reason)&63) : 0)
const u64 route_always_guest = 0 ROUTES(ALWAYS_BIT);

#define NEEDS(rule, controls)                                                                                          \
    ((rule) == RULE_NEVER   ? 0                                                                                        \
     : (rule) == RULE_PROC  ? (controls)                                                                               \
     : (rule) == RULE_PROC2 ? PROC_SECONDARY                                                                           \
     : (rule) == RULE_IO    ? PROC_UNCONDITIONAL_IO | PROC_IO_BITMAPS                                                  \
                            : UINT32_MAX)
#define DEFINE_NEEDS(reason, name, rule, controls, section) [reason] = NEEDS(RULE_##rule, controls),
const u32 route_needs[] = {ROUTES(DEFINE_NEEDS)};
_Static_assert(ARRAY_SIZE(rows) == ARRAY_SIZE(route_needs), "all of them");

/* SDM 3C 24.9.2 "Information for VM Exits Due to Vectored Events" */
#define INTERRUPTION_VECTOR(info) ((u8)(info))
#define INTERRUPTION_TYPE(info)   ((info) >> 8 & 7)
#define TYPE_NMI                  2u

/* SDM 3C 27.2.1 "Basic VM-Exit Information", tables of exit qualifications */
#define CR_NUMBER(q)     bits_field(q, 3, 0)
#define CR_ACCESS(q)     ((q) >> 4 & 3)
#define CR_LMSW_VALUE(q) ((q) >> 16 & 0xffff)
enum cr_access { CR_MOV_TO, CR_MOV_FROM, CR_CLTS, CR_LMSW };
#define IO_BYTES(q) ((u32)bits_field(q, 2, 0) + 1)
#define IO_PORT(q)  ((u32)((q) >> 16) & 0xffff)
#define IO_PORTS    0x10000u

/* SDM 3C 24.6.9 "MSR-Bitmap Address" */
#define MSR_HIGH         0xc0000000u
#define MSR_BITMAP_COUNT 0x2000u
#define BITMAP_HIGH      1024u
#define BITMAP_WRITES    2048u

static u32 proc(const u64 *fields)
{
    return (u32)fields[FIELD_PROC_CONTROLS];
}

/* Without "activate secondary controls" the CPU takes them all for 0, whatever stands there. */
static u32 proc2(const u64 *fields)
{
    return proc(fields) & PROC_SECONDARY ? (u32)fields[FIELD_PROC2_CONTROLS] : 0;
}

static bool bit_of(u64 bitmap, u32 bit, route_read_byte read, void *context)
{
    u8 value;
    return !read(context, bitmap + bit / 8, &value) || value >> bit % 8 & 1;
}

/* A machine check is of the machine, not of who happens to run. */
static bool asks_for_exception(const u64 *fields, const struct route_exit *exit)
{
    u32 vector = INTERRUPTION_VECTOR(exit->interruption);
    bool set = fields[FIELD_EXCEPTION_BITMAP] >> (vector & 31) & 1;

    if (INTERRUPTION_TYPE(exit->interruption) == TYPE_NMI || vector == VECTOR_MC || vector > 31)
        return false;
    if (vector == VECTOR_PF)
        return set == ((exit->error_code & (u32)fields[FIELD_PF_ERROR_MASK]) == (u32)fields[FIELD_PF_ERROR_MATCH]);
    return set;
}

static bool is_cr3_target(const u64 *fields, u64 value)
{
    for (u32 i = 0; i < fields[FIELD_CR3_TARGET_COUNT] && i < 4; i++)
        if (fields[FIELD_CR3_TARGET_0 + i] == value)
            return true;
    return false;
}

static bool asks_for_mov_to(const u64 *fields, u64 number, u64 value)
{
    switch (number) {
    case 0:
        return fields[FIELD_CR0_MASK] & (value ^ fields[FIELD_CR0_SHADOW]);
    case 3:
        return proc(fields) & PROC_CR3_LOAD_EXITING && !is_cr3_target(fields, value);
    case 4:
        return fields[FIELD_CR4_MASK] & (value ^ fields[FIELD_CR4_SHADOW]);
    case 8:
        return proc(fields) & PROC_CR8_LOAD_EXITING;
    default:
        return false;
    }
}

static bool asks_for_cr(const u64 *fields, const struct route_exit *exit)
{
    u64 number = CR_NUMBER(exit->qualification);
    u64 mask = fields[FIELD_CR0_MASK];
    u64 shadow = fields[FIELD_CR0_SHADOW];
    u64 value = CR_LMSW_VALUE(exit->qualification);

    switch ((enum cr_access)CR_ACCESS(exit->qualification)) {
    case CR_MOV_TO:
        return asks_for_mov_to(fields, number, exit->operand);
    case CR_MOV_FROM:
        return proc(fields) & (number == 3 ? PROC_CR3_STORE_EXITING : number == 8 ? PROC_CR8_STORE_EXITING : 0);
    case CR_CLTS:
        return mask & shadow & CR0_TS;
    case CR_LMSW: /* it cannot clear PE */
        return (mask & value & ~shadow & CR0_PE) || (mask & (value ^ shadow) & (CR0_MP | CR0_EM | CR0_TS));
    }
    return false;
}

/* Each port of the access has a bit; an access that wraps around exits in any case. */
static NOINLINE bool is_in_io_bitmaps(const u64 *fields, const struct route_exit *exit, route_read_byte read,
                                      void *context)
{
    u32 port = IO_PORT(exit->qualification);
    u32 end = port + IO_BYTES(exit->qualification);

    if (end > IO_PORTS)
        return true;
    for (; port < end; port++)
        if (bit_of(fields[port < IO_PORTS / 2 ? FIELD_IO_BITMAP_A : FIELD_IO_BITMAP_B], port % (IO_PORTS / 2), read,
                   context))
            return true;
    return false;
}

static NOINLINE bool asks_for_msr(const u64 *fields, const struct route_exit *exit, u32 bitmap, route_read_byte read,
                                  void *context)
{
    u32 index = (u32)exit->operand;

    if (index >= MSR_HIGH) {
        index -= MSR_HIGH;
        bitmap += BITMAP_HIGH;
    }
    return !(proc(fields) & PROC_MSR_BITMAPS) || index >= MSR_BITMAP_COUNT ||
           bit_of(fields[FIELD_MSR_BITMAPS] + bitmap, index, read, context);
}

/* SDM 3C 24.6.15 "VMCS Shadowing Bitmap Addresses": a bit for each encoding of 15 bits; others exit. */
static bool asks_for_field(const u64 *fields, const struct route_exit *exit, u64 bitmap, route_read_byte read,
                           void *context)
{
    return !(proc2(fields) & PROC2_VMCS_SHADOWING) || exit->operand >> 15 ||
           bit_of(bitmap, (u32)exit->operand, read, context);
}

/* SDM 3C 25.5.5.3 "EPTP Switching" is function 0. What the list has there is for Rootlet to see. */
static bool asks_for_function(const u64 *fields, const struct route_exit *exit)
{
    bool switches = fields[FIELD_VM_FUNCTION_CONTROLS] & 1 && !(u32)exit->operand;
    return proc2(fields) & PROC2_VMFUNC && !(switches && exit->operand >> 32 < ROUTE_EPTP_LIST);
}

static bool asks_for(const u64 *fields, const struct route_exit *exit, route_read_byte read, void *context)
{
    u32 controls = rows[exit->reason].controls;

    switch ((enum rule)rows[exit->reason].rule) {
    case RULE_ALWAYS:
    case RULE_EPT:
        return true;
    case RULE_PROC:
        return proc(fields) & controls;
    case RULE_PROC2:
        return proc2(fields) & controls;
    case RULE_EXCEPTION:
        return asks_for_exception(fields, exit);
    case RULE_CR:
        return asks_for_cr(fields, exit);
    case RULE_IO:
        return proc(fields) & PROC_IO_BITMAPS ? is_in_io_bitmaps(fields, exit, read, context)
                                              : proc(fields) & PROC_UNCONDITIONAL_IO;
    case RULE_RDMSR:
        return asks_for_msr(fields, exit, 0, read, context);
    case RULE_WRMSR:
        return asks_for_msr(fields, exit, BITMAP_WRITES, read, context);
    case RULE_VMREAD:
        return asks_for_field(fields, exit, fields[FIELD_VMREAD_BITMAP], read, context);
    case RULE_VMWRITE:
        return asks_for_field(fields, exit, fields[FIELD_VMWRITE_BITMAP], read, context);
    case RULE_VMFUNC:
        return asks_for_function(fields, exit);
    case RULE_PAUSE:
        return proc(fields) & PROC_PAUSE_EXITING || proc2(fields) & PROC2_PAUSE_LOOP_EXITING;
    case RULE_RDTSCP:
        return proc2(fields) & PROC2_RDTSCP && proc(fields) & PROC_RDTSC_EXITING;
    case RULE_INVPCID:
        return proc2(fields) & PROC2_INVPCID && proc(fields) & PROC_INVLPG_EXITING;
    case RULE_TIMER:
        return fields[FIELD_PIN_CONTROLS] & PIN_PREEMPTION_TIMER && !exit->timer_is_ours;
    case RULE_XSAVES:
        return proc2(fields) & PROC2_XSAVES && exit->operand & fields[FIELD_XSS_EXITING_BITMAP];
    case RULE_NEVER:
        break;
    }
    return false;
}

enum route route_exit(const u64 *fields, const struct route_exit *exit, route_read_byte read, void *context)
{
    if (exit->reason >= ARRAY_SIZE(rows) || !asks_for(fields, exit, read, context))
        return ROUTE_ROOTLET;
    if (rows[exit->reason].rule != RULE_EPT)
        return ROUTE_GUEST;
    return proc2(fields) & PROC2_EPT ? ROUTE_EPT : ROUTE_ROOTLET;
}
