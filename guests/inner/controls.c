/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions that exit, or do not, by the controls of the VMCS. SDM 3C 25.1 "Instructions That Cause VM Exits",
 * 24.6 "VM-Execution Control Fields", 27.2.1 "Basic VM-Exit Information", 27.2.4 "Information for VM Exits Due to
 * Instruction Execution".
 */
#include "guests/inner/inner.h"

#define WENT_ON          0x77u
#define STEP(name, text) PROGRAM(name, text "\n\tmov $0x77, %eax")

/* ---- one control, one instruction ---- */

STEP(do_cpuid, "cpuid")
STEP(do_invd, "invd")
STEP(do_xsetbv, "xsetbv")
STEP(do_vmclear, "vmclear (%rbx)")
STEP(do_vmlaunch, "vmlaunch")
STEP(do_vmptrld, "vmptrld (%rbx)")
STEP(do_vmptrst, "vmptrst 16(%rbx)")
STEP(do_vmread, "vmread %rax, %rdx")
STEP(do_vmresume, "vmresume")
STEP(do_vmwrite, "vmwrite %rax, %rdx")
STEP(do_vmxoff, "vmxoff")
STEP(do_vmxon, "vmxon (%rbx)")
STEP(do_invept, "invept (%rbx), %rcx")
STEP(do_invvpid, "invvpid (%rbx), %rcx")
STEP(do_hlt, "hlt")
STEP(do_invlpg, "invlpg (%rbx)")
STEP(do_rdpmc, "rdpmc")
STEP(do_rdtsc, "rdtsc")
STEP(do_rdtscp, "rdtscp")
STEP(do_store_cr3, "mov %cr3, %rdx")
STEP(do_load_cr8, "mov %rdx, %cr8")
STEP(do_store_cr8, "mov %cr8, %rsi")
STEP(do_load_dr3, "mov %rax, %db3")
STEP(do_store_dr7, "mov %db7, %rcx")
STEP(do_in, "in $0x80, %al")
STEP(do_out, "out %eax, $0x82")
STEP(do_pause, "pause")
STEP(do_monitor, "monitor")
STEP(do_mwait, "mwait")
STEP(do_sgdt, "sgdt (%rbx)")
STEP(do_sidt, "sidt 8(%rbx)")
STEP(do_lgdt, "lgdt 16(%rbx, %rax, 4)")
STEP(do_sldt, "sldt %edx")
STEP(do_str, "str (%rbx)")
STEP(do_lldt, "lldt %ax")
STEP(do_wbinvd, "wbinvd")
STEP(do_rdrand, "rdrand %rdx")
STEP(do_rdseed, "rdseed %edx")
STEP(do_invpcid, "invpcid (%rbx), %rcx")

/* The instruction information of an operand (%rbx), and which of its bits are defined. */
#define AT_RBX       (2u << 7 | 3u << 15 | 1u << 22 | 3u << 23)
#define MEMORY_BITS  (7u << 7 | 7u << 15 | 1u << 22 | 15u << 23 | 1u << 27)
#define MEMORY2_BITS (MEMORY_BITS | 15u << 28)
#define TABLE_BITS   (MEMORY_BITS | 3u << 28)
#define LOCAL_BITS   (TABLE_BITS | 1u << 10)
#define REGISTER     (1u << 10)
#define REG1_BITS    (REGISTER | 15u << 3 | 3u << 28)
#define RANDOM_BITS  (15u << 3 | 3u << 11)
#define PAGE_ADDRESS (~0ull) /* the qualification is inner_page's address */
#define UNDEFINED    (~1ull) /* as for instructions without memory operand */

enum need { NEED_NOTHING, NEED_RDRAND, NEED_RDSEED, NEED_MONITOR, NEED_INVPCID };

/* clang-format off */
static const struct control {
    const char *name;
    program *start;
    u16 field;
    u32 bit; /* 0: it exits always */
    u32 more; /* PROC2 controls without which the instruction does not exist */
    u8 reason, length;
    u64 qualification;
    u32 info, info_bits;
    u32 without; /* RAX if the control is off; 0: not tried */
    enum need need;
} controls[] = {
    {"CPUID", do_cpuid, 0, 0, 0, REASON_CPUID, 2, 0, 0, 0, 0, 0},
    {"INVD", do_invd, 0, 0, 0, REASON_INVD, 2, 0, 0, 0, 0, 0},
    {"VMCLEAR", do_vmclear, 0, 0, 0, REASON_VMCLEAR, 4, 0, AT_RBX, MEMORY_BITS, 0, 0},
    {"VMLAUNCH", do_vmlaunch, 0, 0, 0, REASON_VMLAUNCH, 3, 0, 0, 0, 0, 0},
    {"VMPTRLD", do_vmptrld, 0, 0, 0, REASON_VMPTRLD, 3, 0, AT_RBX, MEMORY_BITS, 0, 0},
    {"VMPTRST", do_vmptrst, 0, 0, 0, REASON_VMPTRST, 4, 16, AT_RBX, MEMORY_BITS, 0, 0},
    {"VMREAD", do_vmread, 0, 0, 0, REASON_VMREAD, 3, UNDEFINED, REGISTER | 2 << 3 | 0 << 28, REGISTER | 15 << 3 | 15u << 28, 0,
     0},
    {"VMRESUME", do_vmresume, 0, 0, 0, REASON_VMRESUME, 3, 0, 0, 0, 0, 0},
    {"VMWRITE", do_vmwrite, 0, 0, 0, REASON_VMWRITE, 3, UNDEFINED, REGISTER | 0 << 3 | 2u << 28, REGISTER | 15 << 3 | 15u << 28,
     0, 0},
    {"VMXOFF", do_vmxoff, 0, 0, 0, REASON_VMXOFF, 3, 0, 0, 0, 0, 0},
    {"VMXON", do_vmxon, 0, 0, 0, REASON_VMXON, 4, 0, AT_RBX, MEMORY_BITS, 0, 0},
    {"INVEPT", do_invept, 0, 0, PROC2_EPT, REASON_INVEPT, 5, 0, AT_RBX | 1 << 28, MEMORY2_BITS, 0, 0},
    {"INVVPID", do_invvpid, 0, 0, PROC2_VPID, REASON_INVVPID, 5, 0, AT_RBX | 1 << 28, MEMORY2_BITS, 0, 0},
    {"HLT", do_hlt, PROC_CONTROLS, PROC_HLT_EXITING, 0, REASON_HLT, 1, 0, 0, 0, 0, 0},
    {"INVLPG", do_invlpg, PROC_CONTROLS, PROC_INVLPG, 0, REASON_INVLPG, 3, PAGE_ADDRESS, 0, 0, WENT_ON, 0},
    {"RDPMC", do_rdpmc, PROC_CONTROLS, PROC_RDPMC, 0, REASON_RDPMC, 2, 0, 0, 0, TRAPPED(13), 0},
    {"RDTSC", do_rdtsc, PROC_CONTROLS, PROC_RDTSC, 0, REASON_RDTSC, 2, 0, 0, 0, WENT_ON, 0},
    {"RDTSCP", do_rdtscp, PROC_CONTROLS, PROC_RDTSC, PROC2_RDTSCP, REASON_RDTSCP, 3, 0, 0, 0, WENT_ON, 0},
    {"MOV from CR3", do_store_cr3, PROC_CONTROLS, PROC_CR3_STORE, 0, REASON_CR, 3, 0x213, 0, 0, WENT_ON, 0},
    {"MOV to CR8", do_load_cr8, PROC_CONTROLS, PROC_CR8_LOAD, 0, REASON_CR, 4, 0x208, 0, 0, WENT_ON, 0},
    {"MOV from CR8", do_store_cr8, PROC_CONTROLS, PROC_CR8_STORE, 0, REASON_CR, 4, 0x618, 0, 0, WENT_ON, 0},
    {"MOV to DR3", do_load_dr3, PROC_CONTROLS, PROC_MOV_DR, 0, REASON_MOV_DR, 3, 3, 0, 0, WENT_ON, 0},
    {"MOV from DR7", do_store_dr7, PROC_CONTROLS, PROC_MOV_DR, 0, REASON_MOV_DR, 3, 0x117, 0, 0, WENT_ON, 0},
    {"IN of a constant port", do_in, PROC_CONTROLS, PROC_IO, 0, REASON_IO, 2, 0x800048, 0, 0, WENT_ON, 0},
    {"OUT to a constant port", do_out, PROC_CONTROLS, PROC_IO, 0, REASON_IO, 2, 0x820043, 0, 0, WENT_ON, 0},
    {"PAUSE", do_pause, PROC_CONTROLS, PROC_PAUSE, 0, REASON_PAUSE, 2, 0, 0, 0, WENT_ON, 0},
    {"MONITOR", do_monitor, PROC_CONTROLS, PROC_MONITOR, 0, REASON_MONITOR, 3, 0, 0, 0, 0, NEED_MONITOR},
    {"MWAIT", do_mwait, PROC_CONTROLS, PROC_MWAIT, 0, 36, 3, 0, 0, 0, 0, NEED_MONITOR},
    {"SGDT", do_sgdt, PROC2_CONTROLS, PROC2_DESCRIPTOR_TABLE, 0, REASON_GDTR_OR_IDTR, 3, 0, AT_RBX, TABLE_BITS, WENT_ON,
     0},
    {"SIDT", do_sidt, PROC2_CONTROLS, PROC2_DESCRIPTOR_TABLE, 0, REASON_GDTR_OR_IDTR, 4, 8, AT_RBX | 1 << 28,
     TABLE_BITS, WENT_ON, 0},
    {"LGDT with an index", do_lgdt, PROC2_CONTROLS, PROC2_DESCRIPTOR_TABLE, 0, REASON_GDTR_OR_IDTR, 5, 16,
     2 | 2 << 7 | 3 << 15 | 0 << 18 | 3 << 23 | 2 << 28, TABLE_BITS | 3 | 15 << 18, 0, 0},
    {"SLDT", do_sldt, PROC2_CONTROLS, PROC2_DESCRIPTOR_TABLE, 0, REASON_LDTR_OR_TR, 3, UNDEFINED, REGISTER | 2 << 3, REG1_BITS,
     WENT_ON, 0},
    {"STR", do_str, PROC2_CONTROLS, PROC2_DESCRIPTOR_TABLE, 0, REASON_LDTR_OR_TR, 3, 0, AT_RBX | 1 << 28, LOCAL_BITS,
     WENT_ON, 0},
    {"LLDT", do_lldt, PROC2_CONTROLS, PROC2_DESCRIPTOR_TABLE, 0, REASON_LDTR_OR_TR, 3, UNDEFINED, REGISTER | 2 << 28, REG1_BITS,
     WENT_ON, 0},
    {"WBINVD", do_wbinvd, PROC2_CONTROLS, PROC2_WBINVD, 0, REASON_WBINVD, 2, 0, 0, 0, WENT_ON, 0},
    {"RDRAND", do_rdrand, PROC2_CONTROLS, PROC2_RDRAND, 0, REASON_RDRAND, 4, 0, 2 << 3 | 2 << 11, RANDOM_BITS, WENT_ON,
     NEED_RDRAND},
    {"RDSEED", do_rdseed, PROC2_CONTROLS, PROC2_RDSEED, 0, REASON_RDSEED, 3, 0, 2 << 3 | 1 << 11, RANDOM_BITS, WENT_ON,
     NEED_RDSEED},
    {"INVPCID", do_invpcid, PROC_CONTROLS, PROC_INVLPG, PROC2_INVPCID, REASON_INVPCID, 5, 0, AT_RBX | 1 << 28,
     MEMORY2_BITS, TRAPPED(13), NEED_INVPCID},
};
/* clang-format on */

static bool has(enum need need)
{
    switch (need) {
    case NEED_RDRAND:
        return cpu_cpuid(1, 0).ecx >> 30 & 1;
    case NEED_RDSEED:
        return cpu_cpuid(7, 0).ebx >> 18 & 1;
    case NEED_MONITOR:
        return cpu_cpuid(1, 0).ecx >> 3 & 1;
    case NEED_INVPCID:
        return cpu_cpuid(7, 0).ebx >> 10 & 1;
    case NEED_NOTHING:
        break;
    }
    return true;
}

static void begin(const struct control *c)
{
    inner_begin(c->start);
    if (c->more & ~(PROC2_EPT | PROC2_VPID))
        inner_add(PROC2_CONTROLS, c->more);
}

static void try_control(const struct control *c)
{
    if (!has(c->need) || (c->bit && !inner_can(c->field, c->bit)) || (c->more && !inner_can(PROC2_CONTROLS, c->more))) {
        inner_leave_out("the CPU has it not");
        return;
    }
    begin(c);
    if (c->bit)
        inner_add(c->field, c->bit);
    inner_want_exit(c->reason, c->start, 0);
    if (c->qualification != UNDEFINED)
        inner_want("qualification", inner_get(EXIT_QUALIFICATION),
                   c->qualification == PAGE_ADDRESS ? (u64)inner_page : c->qualification);
    inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), c->length);
    inner_want("instruction information", inner_get(EXIT_INSTRUCTION_INFO) & c->info_bits, c->info);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO) >> 31, 0);
    inner_skip();
    inner_want_call(WENT_ON);
    if (!c->without)
        return;
    begin(c);
    inner_want_call(c->without);
}

/* Without its control the instruction does not exist. SDM 3C 25.3 "Changes to Instruction Behavior in VMX Non-Root
 * Operation" */
STEP(do_xsaves, "xor %edx, %edx\n\txor %eax, %eax\n\txsaves (%rbx)")

static void controls_that_enable(void)
{
    inner_begin(do_rdtscp);
    inner_want_call(TRAPPED(6));
    if (has(NEED_INVPCID)) {
        inner_begin(do_invpcid);
        inner_want_call(TRAPPED(6));
    }
    if (!inner_can(PROC2_CONTROLS, PROC2_XSAVES) || !(cpu_cpuid(13, 1).eax & 8))
        return;
    inner_begin(do_xsaves);
    inner_set(GUEST_CR4, inner_get(GUEST_CR4) | CR4_OSXSAVE);
    inner_want_call(TRAPPED(6));
    inner_begin(do_xsaves);
    inner_set(GUEST_CR4, inner_get(GUEST_CR4) | CR4_OSXSAVE);
    inner_add(PROC2_CONTROLS, PROC2_XSAVES);
    inner_want_call(WENT_ON);
}

/* The CPU knows no XSETBV as long as CR4.OSXSAVE is 0; then it exits always. */
static void xsetbv(void)
{
    if (!(cpu_cpuid(1, 0).ecx >> 26 & 1)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    inner_begin(do_xsetbv);
    inner_want_call(TRAPPED(6));
    inner_begin(do_xsetbv);
    inner_set(GUEST_CR4, inner_get(GUEST_CR4) | CR4_OSXSAVE);
    inner_want_exit(REASON_XSETBV, do_xsetbv, 0);
    inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), 3);
}

/* ---- the TSC ---- */

PROGRAM(read_tsc, "rdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax")

/* The inner guest's TSC, in RAX when it calls, is between two of the hypervisor's and this offset. */
static void want_tsc(const char *what, u64 offset)
{
    u64 before = cpu_rdtsc();
    inner_want("exit reason", inner_go(), REASON_VMCALL);
    u64 after = cpu_rdtsc();
    inner_want(what, inner_registers.rax - offset > before && inner_registers.rax - offset < after, 1);
}

static void want_tsc_with_offset(const char *what)
{
    static const u64 offset = 1ull << 60;

    inner_add(PROC_CONTROLS, PROC_TSC_OFFSETTING);
    inner_set(TSC_OFFSET, offset);
    want_tsc(what, offset);
}

static void tsc_offset(void)
{
    inner_begin(read_tsc);
    want_tsc_with_offset("RDTSC with offset");
    inner_begin(read_tsc);
    want_tsc("RDTSC without offset", 0);
}

/* ---- CR3, CR8 ---- */

STEP(load_cr3, "mov %rdx, %cr3")

static void cr3_targets(void)
{
    u64 cr3;

    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    for (u32 target = 0; target < 5; target++) {
        inner_begin(load_cr3);
        inner_add(PROC_CONTROLS, PROC_CR3_LOAD);
        inner_set(CR3_TARGET_COUNT, target < 4 ? 4 : 3);
        for (u32 i = 0; i < 4; i++)
            inner_set(CR3_TARGET_0 + 2 * i, i == target || (i == 3 && target == 4) ? cr3 : 0x1000 * i);
        inner_registers.rdx = cr3;
        if (target < 4) {
            inner_want_call(WENT_ON);
        } else { /* it stands in a field beyond the count */
            inner_want_exit(REASON_CR, load_cr3, 0);
            inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0x203);
        }
    }
    inner_begin(load_cr3);
    inner_registers.rdx = cr3;
    inner_want_call(WENT_ON);
}

STEP(load_cr8, "mov %rdx, %cr8")
PROGRAM(use_cr8, "mov %rdx, %cr8\n\tmov %cr8, %rax\n\tvmcall\n\tmov %rcx, %cr8\n\tmov $0x77, %eax")

static u64 read_cr8(void)
{
    u64 value;
    __asm__ volatile("mov %%cr8, %0" : "=r"(value));
    return value;
}

static void cr8_without_shadow(void)
{
    inner_begin(load_cr8);
    inner_registers.rdx = 5;
    inner_want_call(WENT_ON);
    inner_want("CR8 of the hypervisor", read_cr8(), 5);
    __asm__ volatile("mov %0, %%cr8" : : "r"(0ull));
}

/* SDM 3C 29.3 "Virtualizing CR8-Based TPR Accesses", 29.1.2 "TPR Virtualization" */
static void tpr_shadow(void)
{
    u8 *tpr = &inner_page[0x80];

    inner_begin(use_cr8);
    inner_add(PROC_CONTROLS, PROC_TPR_SHADOW);
    inner_set(VIRTUAL_APIC_ADDRESS, (u64)inner_page);
    inner_set(TPR_THRESHOLD, 3);
    *tpr = 0x40;
    inner_registers.rdx = 5;
    inner_registers.rcx = 2;
    inner_want_call(5);
    inner_want("the virtual-APIC page's TPR", *tpr, 0x50);
    inner_want("CR8 of the hypervisor", read_cr8(), 0);
    inner_want("exit reason", inner_go(), REASON_TPR_BELOW_THRESHOLD);
    inner_want("the virtual-APIC page's TPR", *tpr, 0x20);
    inner_want("RIP is behind the instruction", *(u8 *)inner_get(GUEST_RIP), 0xb8);
    inner_set(TPR_THRESHOLD, 0);
    inner_want_call(WENT_ON);
    inner_set(TPR_THRESHOLD, 9);
    inner_want("an entry with the threshold above the TPR", inner_go(), NOT_ENTERED | 7);
    *tpr = 0;
}

/* ---- CR0, CR4 ---- */

#define CR4_TSD 0x4u

PROGRAM(store_cr0, "mov %cr0, %rax")
STEP(load_cr0, "mov %rdx, %cr0")
STEP(do_clts, "clts")
STEP(do_lmsw, "lmsw %dx")
STEP(do_lmsw_memory, "lmsw (%rbx)")
PROGRAM(store_cr4, "mov %cr4, %rax")
STEP(load_cr4, "mov %rdx, %cr4")

static void begin_cr0(program *start, u64 mask, u64 shadow, u64 set)
{
    inner_begin(start);
    inner_set(GUEST_CR0, inner_get(GUEST_CR0) | set);
    inner_set(CR0_MASK, mask);
    inner_set(CR0_SHADOW, shadow);
}

/* SDM 3C 24.6.6 "Guest/Host Masks and Read Shadows for CR0 and CR4" */
static void cr0_mask(void)
{
    u64 cr0 = cpu_read_cr0();

    begin_cr0(store_cr0, CR0_TS | CR0_EM, CR0_EM, CR0_TS | CR0_MP);
    inner_want_call((cr0 | CR0_EM | CR0_MP) & ~(u64)CR0_TS);
    begin_cr0(load_cr0, CR0_TS, 0, CR0_TS);
    inner_registers.rdx = cr0 | CR0_TS;
    inner_want_exit(REASON_CR, load_cr0, 0);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0x200);
    begin_cr0(load_cr0, CR0_TS, CR0_TS, 0);
    inner_registers.rdx = cr0 | CR0_TS | CR0_MP;
    inner_want_call(WENT_ON);
    inner_want("the guest's CR0", inner_get(GUEST_CR0), cr0 | CR0_MP);
    inner_want("the shadow", inner_get(CR0_SHADOW), CR0_TS);
}

static void clts_and_lmsw(void)
{
    u64 cr0 = cpu_read_cr0() & ~(u64)(CR0_TS | CR0_MP | CR0_EM);

    begin_cr0(do_clts, CR0_TS, CR0_TS, 0);
    inner_want_exit(REASON_CR, do_clts, 0);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0x20);
    begin_cr0(do_clts, CR0_TS, 0, CR0_TS); /* a masked bit stays */
    inner_want_call(WENT_ON);
    inner_want("the guest's CR0.TS", inner_get(GUEST_CR0) & CR0_TS, CR0_TS);
    begin_cr0(do_clts, 0, 0, CR0_TS);
    inner_want_call(WENT_ON);
    inner_want("the guest's CR0.TS", inner_get(GUEST_CR0) & CR0_TS, 0);
    begin_cr0(do_lmsw, CR0_MP, 0, 0);
    inner_registers.rdx = 0x2b;
    inner_want_exit(REASON_CR, do_lmsw, 0);
    inner_want("qualification of LMSW", inner_get(EXIT_QUALIFICATION), 0x2b0030);
    begin_cr0(do_lmsw_memory, CR0_EM, CR0_EM, 0);
    *(u16 *)inner_page = 3;
    inner_want_exit(REASON_CR, do_lmsw_memory, 0);
    inner_want("qualification of LMSW from memory", inner_get(EXIT_QUALIFICATION), 0x30070);
    inner_want("linear address", inner_get(GUEST_LINEAR_ADDRESS), (u64)inner_page);
    begin_cr0(do_lmsw, CR0_PE, 0, 0); /* PE is set already, but its shadow is not */
    inner_registers.rdx = 1;
    inner_want_exit(REASON_CR, do_lmsw, 0);
    begin_cr0(do_lmsw, 0, 0, 0);
    inner_registers.rdx = 0xa;
    inner_want_call(WENT_ON);
    inner_want("the guest's CR0", inner_get(GUEST_CR0), cr0 | CR0_TS | CR0_MP);
}

/*
 * Neither entry nor exit changes CD and NW: SDM 3C 26.3.2.1 "Loading Guest Control Registers, Debug Registers, and
 * MSRs", 27.5.1 "Loading Host Control Registers, Debug Registers, MSRs".
 */
static void caches_off(void)
{
    u64 cr0 = cpu_read_cr0();

    begin_cr0(load_cr0, 0, 0, 0);
    inner_registers.rdx = cr0 | CR0_CD | CR0_NW;
    inner_want_call(WENT_ON);
    inner_want("the guest's CR0", inner_get(GUEST_CR0), cr0 | CR0_CD | CR0_NW);
    inner_want("the hypervisor's CR0", cpu_read_cr0(), cr0 | CR0_CD | CR0_NW);
    inner_set(GUEST_CR0, cr0);
    inner_set(GUEST_RIP, (u64)store_cr0);
    inner_want_call(cr0 | CR0_CD | CR0_NW);
    cpu_write_cr0(cr0);
    begin_cr0(store_cr0, 0, 0, CR0_CD | CR0_NW);
    inner_want_call(cr0);
    inner_want("the guest's CR0", inner_get(GUEST_CR0), cr0);
    begin_cr0(load_cr0, CR0_CD, 0, 0);
    inner_registers.rdx = cr0 | CR0_CD | CR0_NW;
    inner_want_exit(REASON_CR, load_cr0, 0);
    begin_cr0(load_cr0, 0, 0, 0);
    inner_registers.rdx = cr0 | CR0_NW; /* without CD: #GP, SDM 2B "MOV--Move to/from Control Registers" */
    inner_want_call(TRAPPED(13));
    inner_want("error code", inner_trap.error, 0);
    inner_want("the hypervisor's CR0", cpu_read_cr0(), cr0);
}

/* SDM 3C 23.8 "Restrictions on VMX Operation" holds in the inner guest, too. */
static void fixed_bits(void)
{
    u64 cr0 = cpu_read_cr0(), cr4 = cpu_read_cr4();

    begin_cr0(load_cr0, 0, 0, 0);
    inner_registers.rdx = cr0 & ~(u64)CR0_NE;
    inner_want_call(TRAPPED(13));
    begin_cr0(load_cr0, 0, 0, 0);
    inner_registers.rdx = cr0 & ~(u64)CR0_PG;
    inner_want_call(TRAPPED(13));
    inner_begin(load_cr4);
    inner_registers.rdx = cr4 & ~(u64)CR4_VMXE;
    inner_want_call(TRAPPED(13));
    inner_begin(load_cr4);
    inner_set(CR4_MASK, CR4_VMXE);
    inner_registers.rdx = cr4 & ~(u64)CR4_VMXE; /* the shadow's value */
    inner_want_call(WENT_ON);
    inner_want("the guest's CR4", inner_get(GUEST_CR4), cr4);
}

static void cr4_mask(void)
{
    u64 cr4 = cpu_read_cr4();

    inner_begin(store_cr4);
    inner_set(CR4_MASK, CR4_TSD | CR4_VMXE);
    inner_set(CR4_SHADOW, CR4_TSD);
    inner_want_call((cr4 | CR4_TSD) & ~(u64)CR4_VMXE);
    inner_begin(load_cr4);
    inner_set(CR4_MASK, CR4_TSD);
    inner_registers.rdx = cr4 | CR4_TSD;
    inner_want_exit(REASON_CR, load_cr4, 0);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0x204);
    inner_begin(load_cr4);
    inner_set(CR4_MASK, CR4_TSD);
    inner_set(CR4_SHADOW, CR4_TSD);
    inner_registers.rdx = cr4 | CR4_TSD | CR4_MCE | CR4_PSE;
    inner_want_call(WENT_ON);
    inner_want("the guest's CR4", inner_get(GUEST_CR4), cr4 | CR4_MCE | CR4_PSE);
    inner_want("the hypervisor's CR4", cpu_read_cr4(), cr4);
}

PROGRAM(use_xcr0, "mov %rdx, %cr4\n\txor %ecx, %ecx\n\txgetbv\n\tmov %cr4, %rax")

static void osxsave(void)
{
    u64 cr4 = cpu_read_cr4();

    if (!(cpu_cpuid(1, 0).ecx >> 26 & 1)) {
        inner_leave_out("the CPU has no XSAVE");
        return;
    }
    inner_begin(use_xcr0);
    inner_registers.rdx = cr4 | CR4_OSXSAVE;
    inner_want_call(cr4 | CR4_OSXSAVE);
    inner_want("the guest's CR4", inner_get(GUEST_CR4), cr4 | CR4_OSXSAVE);
    inner_want("the hypervisor's CR4", cpu_read_cr4(), cr4);
    inner_want("CPUID of the hypervisor has OSXSAVE", cpu_cpuid(1, 0).ecx >> 27 & 1, 0);
    inner_begin(use_xcr0);
    inner_registers.rdx = cr4;
    inner_want_call(TRAPPED(6));
}

/* ---- ports ---- */

STEP(in8, "in %dx, %al")
STEP(in16, "in %dx, %ax")
STEP(in32, "in %dx, %eax")
STEP(out8, "out %al, %dx")
STEP(insb, "insb")
STEP(rep_outsw, "rep outsw")

static u8 bitmaps[2][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static void set_bit(u8 *bitmap, u32 bit)
{
    bitmap[bit / 8] = (u8)(bitmap[bit / 8] | 1u << bit % 8);
}

static void clear_bitmaps(void)
{
    for (u32 i = 0; i < sizeof bitmaps; i++)
        (&bitmaps[0][0])[i] = 0;
}

static void begin_io(program *start, u32 port)
{
    inner_begin(start);
    inner_add(PROC_CONTROLS, PROC_IO_BITMAPS | PROC_IO); /* the latter is ignored */
    inner_set(IO_BITMAP_A, (u64)bitmaps[0]);
    inner_set(IO_BITMAP_B, (u64)bitmaps[1]);
    inner_registers.rdx = port;
}

static void io_bitmaps(void)
{
    static const struct {
        u16 port, bit;
        program *start;
        bool exits;
        u64 qualification; /* without the port */
    } rows[] = {
        {0x80,   0x80,   in8,  true,  8 },
        {0x80,   0x81,   in8,  false, 8 },
        {0x81,   0x80,   in8,  false, 8 },
        {0x80,   0x81,   in16, true,  9 },
        {0x80,   0x82,   in16, false, 9 },
        {0x80,   0x83,   in32, true,  11},
        {0x80,   0x84,   in32, false, 11},
        {0x7ffe, 0x7fff, in16, true,  9 },
        {0x7fff, 0x8000, in16, true,  9 },
        {0x7ffe, 0x8001, in32, true,  11},
        {0x8000, 0x8000, in8,  true,  8 },
        {0x8000, 0x7fff, in8,  false, 8 },
        {0xffff, 0xffff, in8,  true,  8 },
        {0xffff, 0x8000, in8,  false, 8 },
        {0xffff, 0x80,   in16, true,  9 },
        {0xfffd, 0x80,   in32, true,  11},
        {0xfffc, 0x80,   in32, false, 11},
        {0x80,   0x80,   out8, true,  0 },
        {0x80,   0x7f,   out8, false, 0 },
    };

    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        clear_bitmaps();
        set_bit(bitmaps[rows[i].bit / 0x8000], rows[i].bit % 0x8000);
        begin_io(rows[i].start, rows[i].port);
        if (rows[i].exits) {
            inner_want_exit(REASON_IO, rows[i].start, 0);
            inner_want("qualification", inner_get(EXIT_QUALIFICATION), (u64)rows[i].port << 16 | rows[i].qualification);
        } else {
            inner_want_call(WENT_ON);
        }
    }
}

/* Faults that a hypervisor may have to raise in the CPU's place: RF is saved as they would push it, and CR2 is not
 * changed. SDM 3C 27.1, 27.3.3 */
STEP(no_msr, "rdmsr")

static void raised_faults(void)
{
    static u8 no_msr_exits[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

    clear_bitmaps();
    begin_io(insb, 0x80);
    inner_set(EXCEPTION_BITMAP, 1u << 14);
    inner_registers.rdi = UNMAPPED;
    __asm__ volatile("mov %0, %%cr2" : : "r"(0x4711000ull));
    inner_want_exit(REASON_EXCEPTION, insb, 0);
    inner_want("address", inner_get(EXIT_QUALIFICATION), UNMAPPED);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | HARDWARE | WITH_CODE | 14);
    u64 cr2;
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    inner_want("CR2", cr2, 0x4711000);
    if (inner_bare) /* Bochs saves RF as it is, and has each MSR */
        return;
    inner_want("RF", inner_get(GUEST_RFLAGS) & RFLAGS_RF, RFLAGS_RF);
    inner_begin(no_msr);
    inner_add(PROC_CONTROLS, PROC_MSR_BITMAPS);
    inner_set(MSR_BITMAPS, (u64)no_msr_exits);
    inner_set(EXCEPTION_BITMAP, 1u << 13);
    inner_registers.rcx = 0x1fff;
    inner_want_exit(REASON_EXCEPTION, no_msr, 0);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | HARDWARE | WITH_CODE | 13);
    inner_want("RF", inner_get(GUEST_RFLAGS) & RFLAGS_RF, RFLAGS_RF);
}

static void string_io(void)
{
    bool has_info = inner_read_msr(0x480) >> 54 & 1;

    clear_bitmaps();
    set_bit(bitmaps[0], 0x80);
    begin_io(insb, 0x80);
    inner_want_exit(REASON_IO, insb, 0);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0x800018);
    inner_want("linear address", inner_get(GUEST_LINEAR_ADDRESS), (u64)inner_page);
    if (has_info)
        inner_want("instruction information", inner_get(EXIT_INSTRUCTION_INFO) & 0x380, 2 << 7);
    begin_io(rep_outsw, 0x80);
    inner_registers.rcx = 3;
    inner_want_exit(REASON_IO, rep_outsw, 0);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0x800031);
    inner_want("linear address", inner_get(GUEST_LINEAR_ADDRESS), (u64)inner_page);
    inner_want("RCX", inner_registers.rcx, 3);
    if (has_info)
        inner_want("instruction information", inner_get(EXIT_INSTRUCTION_INFO) & 0x38380, 2 << 7 | 3 << 15);
    inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), 3);
    clear_bitmaps();
    begin_io(rep_outsw, 0x80);
    inner_registers.rcx = 3;
    inner_want_call(WENT_ON);
    inner_want("RCX", inner_registers.rcx, 0);
    inner_want("RSI", inner_registers.rsi, (u64)inner_page + 6);
}

/* ---- MSRs ---- */

STEP(rdmsr, "rdmsr")
STEP(wrmsr, "wrmsr")
PROGRAM(read_tsc_msr, "mov $0x10, %ecx\n\trdmsr\n\tshl $32, %rdx\n\tor %rdx, %rax")

#define MSR_SYSENTER_CS    0x174u
#define MSR_KERNEL_GS_BASE 0xc0000102u

static void begin_msr(program *start, u32 index)
{
    inner_begin(start);
    inner_add(PROC_CONTROLS, PROC_MSR_BITMAPS);
    inner_set(MSR_BITMAPS, (u64)bitmaps[0]);
    inner_registers.rcx = index;
}

static void msr_bitmaps(void)
{
    static const struct {
        u32 index, bit;
        program *start;
        bool exits;
    } rows[] = {
        {MSR_SYSENTER_CS,    0x174,          rdmsr, true },
        {MSR_SYSENTER_CS,    0x175,          rdmsr, false},
        {MSR_SYSENTER_CS,    0x2000 + 0x174, rdmsr, false},
        {MSR_SYSENTER_CS,    0x4000 + 0x174, rdmsr, false},
        {MSR_SYSENTER_CS,    0x4000 + 0x174, wrmsr, true },
        {MSR_SYSENTER_CS,    0x174,          wrmsr, false},
        {MSR_KERNEL_GS_BASE, 0x2102,         rdmsr, true },
        {MSR_KERNEL_GS_BASE, 0x102,          rdmsr, false},
        {MSR_KERNEL_GS_BASE, 0x6102,         wrmsr, true },
        {MSR_KERNEL_GS_BASE, 0x2102,         wrmsr, false},
        {0x2000,             0x2000,         rdmsr, true },
        {0xbfffffff,         0x1fff,         wrmsr, true },
        {0xc0002000,         0,              rdmsr, true },
    };

    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        clear_bitmaps();
        set_bit(bitmaps[0], rows[i].bit);
        begin_msr(rows[i].start, rows[i].index);
        if (rows[i].exits) {
            inner_want_exit(rows[i].start == rdmsr ? REASON_RDMSR : REASON_WRMSR, rows[i].start, 0);
            inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0);
            inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), 2);
        } else {
            inner_want_call(WENT_ON);
        }
    }
    inner_begin(rdmsr); /* without bitmaps each exits */
    inner_registers.rcx = MSR_SYSENTER_CS;
    inner_want_exit(REASON_RDMSR, rdmsr, 0);
}

/* What the next entry finds in memory counts; nothing need be written to the VMCS for it. */
static void msr_bitmaps_change(void)
{
    clear_bitmaps();
    set_bit(bitmaps[0], 0x174);
    begin_msr(rdmsr, MSR_SYSENTER_CS);
    inner_want_exit(REASON_RDMSR, rdmsr, 0);
    clear_bitmaps();
    inner_want_call(WENT_ON);
    inner_set(GUEST_RIP, (u64)rdmsr);
    inner_want_call(WENT_ON);
    inner_set(GUEST_RIP, (u64)rdmsr);
    set_bit(bitmaps[0], 0x174);
    inner_want_exit(REASON_RDMSR, rdmsr, 0);
}

/* SDM 3C 25.3 "Changes to Instruction Behavior in VMX Non-Root Operation" */
static void tsc_by_rdmsr(void)
{
    clear_bitmaps();
    begin_msr(read_tsc_msr, 0);
    want_tsc_with_offset("RDMSR with offset");
}

/* ---- exceptions ---- */

PROGRAM(do_ud2, "ud2")
PROGRAM(read_memory, "mov (%rbx), %rdx")
PROGRAM(write_memory, "mov %rdx, (%rbx)")
PROGRAM(do_int3, "int3\n\tmov $0x77, %eax")

static void exception_bitmap(void)
{
    inner_begin(do_ud2);
    inner_want_call(TRAPPED(6));
    inner_begin(do_ud2);
    inner_set(EXCEPTION_BITMAP, 1u << 6);
    inner_want_exit(REASON_EXCEPTION, do_ud2, 0);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), 0x80000306);
    inner_begin(do_int3);
    inner_set(EXCEPTION_BITMAP, 1u << 3);
    inner_want_exit(REASON_EXCEPTION, do_int3, 0);
    inner_want("interruption information of INT3", inner_get(EXIT_INTERRUPTION_INFO), 0x80000603);
    inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), 1);
    inner_begin(load_cr0);
    inner_set(EXCEPTION_BITMAP, 1u << 13);
    inner_registers.rdx = cpu_read_cr0() & ~(u64)CR0_PG;
    inner_want_exit(REASON_EXCEPTION, load_cr0, 0);
    inner_want("interruption information of #GP", inner_get(EXIT_INTERRUPTION_INFO), 0x80000b0d);
    inner_want("error code", inner_get(EXIT_INTERRUPTION_ERROR_CODE), 0);
}

/* SDM 3C 25.2 "Other Causes of VM Exits": bit 14, and whether error code & mask = match. */
static void page_fault_mask(void)
{
    static const struct {
        bool bit;
        u32 mask, match;
        program *start;
        bool exits;
    } rows[] = {
        {true,  0, 0, read_memory,  true },
        {false, 0, 0, read_memory,  false},
        {true,  0, 1, read_memory,  false},
        {false, 0, 1, read_memory,  true },
        {true,  2, 2, write_memory, true },
        {true,  2, 2, read_memory,  false},
        {false, 2, 2, read_memory,  true },
        {false, 2, 2, write_memory, false},
    };

    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        inner_begin(rows[i].start);
        inner_set(EXCEPTION_BITMAP, rows[i].bit << 14);
        inner_set(PF_ERROR_MASK, rows[i].mask);
        inner_set(PF_ERROR_MATCH, rows[i].match);
        inner_registers.rbx = UNMAPPED;
        if (!rows[i].exits) {
            inner_want_call(TRAPPED(14));
            inner_want("error code", inner_trap.error, rows[i].start == write_memory ? 2 : 0);
            continue;
        }
        inner_want_exit(REASON_EXCEPTION, rows[i].start, 0);
        inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), 0x80000b0e);
        inner_want("error code", inner_get(EXIT_INTERRUPTION_ERROR_CODE), rows[i].start == write_memory ? 2 : 0);
        inner_want("qualification", inner_get(EXIT_QUALIFICATION), UNMAPPED);
    }
}

/* ---- the monitor trap flag ---- */

STEP(some_steps, "nop\n\tadd $1, %rcx\n\tcpuid")

static void monitor_trap_flag(void)
{
    if (!inner_can(PROC_CONTROLS, PROC_TRAP_FLAG)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    inner_begin(some_steps);
    inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
    u32 reason = inner_go();
    if (reason == REASON_CPUID) { /* Bochs 2.7, on some models */
        inner_leave_out("the CPU has the control, which does nothing");
        return;
    }
    inner_want("exit reason", reason, REASON_TRAP_FLAG);
    inner_want("RIP's offset", inner_get(GUEST_RIP) - (u64)some_steps, 1);
    inner_want_exit(REASON_TRAP_FLAG, some_steps, 5);
    inner_want_exit(REASON_CPUID, some_steps, 5); /* an exit of the instruction's own comes first */
}

void inner_controls(void)
{
    static const struct inner_row scenarios[] = {
        {"controls that enable an instruction", controls_that_enable},
        {"XSETBV",                              xsetbv              },
        {"TSC offset",                          tsc_offset          },
        {"CR3 targets",                         cr3_targets         },
        {"CR8 without TPR shadow",              cr8_without_shadow  },
        {"TPR shadow and threshold",            tpr_shadow          },
        {"CR0 mask and shadow",                 cr0_mask            },
        {"CLTS and LMSW",                       clts_and_lmsw       },
        {"CR0.CD and NW",                       caches_off          },
        {"fixed bits of CR0 and CR4",           fixed_bits          },
        {"CR4 mask and shadow",                 cr4_mask            },
        {"CR4.OSXSAVE",                         osxsave             },
        {"I/O bitmaps",                         io_bitmaps          },
        {"INS and OUTS",                        string_io           },
        {"faults in the place of the CPU",      raised_faults       },
        {"MSR bitmaps",                         msr_bitmaps         },
        {"MSR bitmaps that change",             msr_bitmaps_change  },
        {"TSC by RDMSR",                        tsc_by_rdmsr        },
        {"exception bitmap",                    exception_bitmap    },
        {"page-fault mask and match",           page_fault_mask     },
        {"monitor trap flag",                   monitor_trap_flag   },
    };

    for (u32 i = 0; i < ARRAY_LENGTH(controls); i++) {
        inner_scenario(controls[i].name);
        try_control(&controls[i]);
        inner_scenario_end();
    }
    inner_run(scenarios, ARRAY_LENGTH(scenarios), NULL);
}
