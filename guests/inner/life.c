/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a VMCS: current or not, clear or launched, across VMXOFF and VMXON; two that are used by turns; shadow
 * VMCSs; and how INVEPT, INVVPID and VMFUNC fail. SDM 3C 24.1 "Overview", 24.10 "VMCS Types: Ordinary and Shadow",
 * 24.11.3 "Initializing a VMCS", 30.3 "VMX Instructions", 30.4 "VM Instruction Error Numbers".
 */
#include "guests/inner/inner.h"

PROGRAM(nothing, "")

#define NO_VMCS (~0ull)

enum { ERROR_VMLAUNCH = 4, ERROR_VMRESUME = 5, ERROR_VMXON = 15, ERROR_INVALIDATE = 28 };

/* The vector of the exception that the instruction raises with this operand in memory; or what NO_VMCS is. */
#define FAULT_OF(name, text)                                                                                           \
    static u64 fault_of_##name(u64 operand)                                                                            \
    {                                                                                                                  \
        u64 before = inner_host_count;                                                                                 \
        __asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, inner_host_fixup(%%rip)\n\t" text                         \
                         "\n\t1: movq $0, inner_host_fixup(%%rip)"                                                     \
                         : "+m"(operand)                                                                               \
                         :                                                                                             \
                         : "rax", "rcx", "cc", "memory");                                                              \
        return inner_host_count == before ? NO_VMCS : inner_host_trap.vector;                                          \
    }
FAULT_OF(vmxoff, "vmxoff")
FAULT_OF(vmptrst, "vmptrst %0")
FAULT_OF(vmxon, "vmxon %0")
FAULT_OF(vmfunc, "mov %0, %%rax\n\tvmfunc")
FAULT_OF(invvpid, "mov %0, %%rcx\n\tmov $0x140000000, %%rax\n\tinvvpid (%%rax), %%rcx")

static u64 current(void)
{
    u64 pointer = 0;
    __asm__ volatile("vmptrst %0" : "=m"(pointer) : : "cc", "memory");
    return pointer;
}

static u32 enter(u32 how)
{
    u32 failed = lab_enter(&inner_registers, how);
    return failed ? NOT_ENTERED | vmx_answer(failed == 1, failed == 2) : (u32)inner_get(EXIT_REASON);
}

static void want_no_vmcs(void)
{
    u64 value;

    inner_want("the current-VMCS pointer", current(), NO_VMCS);
    inner_want("VMREAD", vmx_read(GUEST_RIP, &value), INVALID);
    inner_want("VMWRITE", vmx_write(GUEST_RIP, 0), INVALID);
    inner_want("VMLAUNCH", lab_enter(&inner_registers, LAUNCH), 1);
    inner_want("VMRESUME", lab_enter(&inner_registers, RESUME), 1);
    inner_want("VMXON in VMX root operation", vmx_vmxon(inner_vmxon_region()), INVALID);
}

static void clear_and_launched(void)
{
    inner_begin(nothing);
    u64 vmcs = current();
    inner_want("VMRESUME when clear", enter(RESUME), NOT_ENTERED | ERROR_VMRESUME);
    inner_want("VMLAUNCH", enter(LAUNCH), REASON_VMCALL);
    inner_want("VMLAUNCH when launched", enter(LAUNCH), NOT_ENTERED | ERROR_VMLAUNCH);
    inner_want("VMPTRLD of the current VMCS", vmx_vmptrld(vmcs), DONE);
    inner_want("VMRESUME", enter(RESUME), REASON_VMCALL);
    inner_want("VMPTRLD of the VMXON pointer", vmx_vmptrld(inner_vmxon_region()), 10);
    inner_want("the current-VMCS pointer", current(), vmcs);
    inner_want("VMCLEAR of the VMXON pointer", vmx_vmclear(inner_vmxon_region()), 3);
    inner_want("VMXON", vmx_vmxon(inner_vmxon_region()), ERROR_VMXON);
    inner_set(GUEST_RSP, 0x4711000);
    inner_want("VMCLEAR of the current VMCS", vmx_vmclear(vmcs), DONE);
    want_no_vmcs();
    inner_want("VMPTRLD", vmx_vmptrld(vmcs), DONE);
    inner_want("a field", inner_get(GUEST_RSP), 0x4711000);
    inner_want("VMRESUME after VMCLEAR", enter(RESUME), NOT_ENTERED | ERROR_VMRESUME);
    inner_want("the error", inner_get(INSTRUCTION_ERROR), ERROR_VMRESUME);
    inner_set(GUEST_CR3, 1ull << 63); /* an entry that fails launches nothing */
    inner_want("VMLAUNCH", enter(LAUNCH), 0x80000021);
    inner_set(GUEST_CR3, inner_get(HOST_CR3));
    inner_want("VMRESUME after a failure", enter(RESUME), NOT_ENTERED | ERROR_VMRESUME);
    inner_set(HOST_CR3, 1ull << 63);
    inner_want("VMLAUNCH", enter(LAUNCH), NOT_ENTERED | 8);
    inner_set(HOST_CR3, inner_get(GUEST_CR3));
    inner_want("VMLAUNCH", enter(LAUNCH), REASON_VMCALL);
    inner_set(GUEST_CR3, 1ull << 63); /* nor is it clear behind one */
    inner_want("VMRESUME", enter(RESUME), 0x80000021);
    inner_set(GUEST_CR3, inner_get(HOST_CR3));
    inner_want("VMLAUNCH after a failure", enter(LAUNCH), NOT_ENTERED | ERROR_VMLAUNCH);
    inner_want("VMRESUME", enter(RESUME), REASON_VMCALL);
}

/* ---- VMXOFF ---- */

static void off_and_on(void)
{
    u64 cr0 = cpu_read_cr0(), cr4 = cpu_read_cr4();

    inner_begin(nothing);
    u64 vmcs = current();
    inner_want("VMLAUNCH", enter(LAUNCH), REASON_VMCALL);
    inner_set(GUEST_RSP, 0x4712000);
    inner_want("VMCLEAR", vmx_vmclear(vmcs), DONE);
    for (u32 i = 0; i < 2; i++) { /* the second time with a VMCS that is current */
        inner_want("VMXOFF", vmx_off(), DONE);
        inner_want("VMXOFF outside VMX operation", fault_of_vmxoff(0), 6);
        inner_want("VMPTRST outside VMX operation", fault_of_vmptrst(0), 6);
        cpu_write_cr4(cr4 & ~(u64)CR4_VMXE);
        inner_want("VMXON without CR4.VMXE", fault_of_vmxon(inner_vmxon_region()), 6);
        cpu_write_cr4(cr4);
        cpu_write_cr0(cr0 & ~0x20ull); /* CR0.NE */
        inner_want("VMXON without CR0.NE", fault_of_vmxon(inner_vmxon_region()), 13);
        cpu_write_cr0(cr0);
        inner_want("VMXON", vmx_vmxon(inner_vmxon_region()), DONE);
        want_no_vmcs();
        inner_want("VMPTRLD", vmx_vmptrld(vmcs), DONE);
        inner_want("a field", inner_get(GUEST_RSP), i ? 0x4713000 : 0x4712000);
        inner_set(GUEST_RIP, (u64)nothing);
        inner_want("VMRESUME of a clear VMCS", enter(RESUME), NOT_ENTERED | ERROR_VMRESUME);
        inner_want("VMLAUNCH", enter(LAUNCH), REASON_VMCALL);
        inner_set(GUEST_RSP, 0x4713000);
        inner_want("VMCLEAR", vmx_vmclear(vmcs), DONE);
        if (i == 0)
            inner_want("VMPTRLD", vmx_vmptrld(vmcs), DONE);
    }
    inner_want("the pointer", current(), NO_VMCS);
}

/* ---- two VMCSs by turns: each has its controls, its guest, and its launch state ---- */

PROGRAM(first_guest, "1: mov %edx, %es\n\tmov %fs:0, %rax\n\tmov %cr0, %rcx\n\tvmcall\n\tjmp 1b")
PROGRAM(second_guest, "1: mov %edx, %es\n\tmov %gs:8, %rax\n\tmov %cr4, %rcx\n\tcpuid\n\tjmp 1b")

static void by_turns(void)
{
    static struct region other;
    static u64 data[2];

    inner_begin(first_guest);
    u64 first = current(), cr0 = cpu_read_cr0(), cr4 = cpu_read_cr4();
    data[0] = 0x1111;
    data[1] = 0x2222;
    inner_set(GUEST_FS_BASE, (u64)data);
    inner_set(GUEST_SYSENTER_EIP, 0x1000);
    inner_set(CR0_MASK, CR0_TS | CR0_EM);
    inner_set(CR0_SHADOW, CR0_EM);
    other.revision = (u32)inner_read_msr(0x480) & 0x7fffffff;
    inner_want("VMCLEAR", vmx_vmclear((u64)&other), DONE);
    inner_want("VMPTRLD", vmx_vmptrld((u64)&other), DONE);
    inner_fill(second_guest);
    inner_set(GUEST_GS_BASE, (u64)data);
    inner_set(GUEST_SYSENTER_EIP, 0x2000);
    inner_set(CR4_MASK, CR4_VMXE);
    inner_set(CR4_SHADOW, 0);
    inner_add(PROC_CONTROLS, PROC_RDTSC);
    for (u32 i = 0; i < 6; i++) {
        bool second = !(i & 1);
        inner_want("VMPTRLD", vmx_vmptrld(second ? (u64)&other : first), DONE);
        if (i >= 2) /* what the guest has changed came back with its VMCS */
            inner_want("ES", inner_get(GUEST_ES_SELECTOR), i < 4 ? SELECTOR_DATA : 0);
        if (i == 3)
            inner_set(GUEST_SYSENTER_EIP, 0x3000); /* what is written between goes in with the next entry */
        if (i >= 4)
            inner_want("IA32_SYSENTER_EIP", inner_get(GUEST_SYSENTER_EIP), second ? 0x2000 : 0x3000);
        inner_registers.rdx = i & 2 ? 0 : SELECTOR_DATA;
        inner_registers.rax = inner_registers.rcx = 0;
        inner_want("exit reason", enter(i < 2 ? LAUNCH : RESUME), second ? REASON_CPUID : REASON_VMCALL);
        inner_want("RAX", inner_registers.rax, data[second]);
        inner_want("RCX", inner_registers.rcx, second ? cr4 & ~(u64)CR4_VMXE : (cr0 | CR0_EM) & ~(u64)CR0_TS);
        inner_skip();
    }
    inner_want("VMCLEAR of the other one", vmx_vmclear((u64)&other), DONE);
    inner_want("the pointer", current(), first);
    inner_want("VMRESUME", enter(RESUME), REASON_VMCALL);
    inner_want("VMPTRLD", vmx_vmptrld((u64)&other), DONE);
    inner_want("VMRESUME of a clear VMCS", enter(RESUME), NOT_ENTERED | ERROR_VMRESUME);
    inner_want("VMLAUNCH", enter(LAUNCH), REASON_CPUID);
    inner_want("VMPTRLD", vmx_vmptrld(first), DONE);
    inner_want("VMCLEAR of the other one", vmx_vmclear((u64)&other), DONE);
}

static void set_ring(u32 ring)
{
    for (u32 i = 0; i < 6; i++) {
        inner_set(GUEST_ES_SELECTOR + 2 * i, (i == 1 ? SELECTOR_CODE : SELECTOR_DATA) | ring);
        inner_set(GUEST_ES_ACCESS + 2 * i, inner_get(GUEST_ES_ACCESS + 2 * i) | ring << 5);
    }
}

/* ---- shadow VMCSs ---- */

#define SHADOW_VMCS (1u << 31)
#define SHADOW_RSP  0x4714000u
#define SHADOW_TSC  0x1234567887654321ull
#define WHOLE       (1ull << 63) /* beyond an encoding's 15 bits */

static struct region shadow;
static u8 bitmaps[2][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* False, and VMPTRLD fails: the CPU has none. Else there is one with some fields, and no bit is set in the bitmaps. */
static bool make_shadow(void)
{
    bool can = inner_can(PROC2_CONTROLS, PROC2_VMCS_SHADOWING);

    inner_begin(nothing);
    shadow.revision = ((u32)inner_read_msr(0x480) & 0x7fffffff) | SHADOW_VMCS;
    inner_want("VMCLEAR of a shadow VMCS", vmx_vmclear((u64)&shadow), DONE);
    inner_want("VMPTRLD of a shadow VMCS", vmx_vmptrld((u64)&shadow), can ? DONE : 11);
    if (!can) {
        inner_leave_out("the CPU has it not");
        return false;
    }
    inner_set(GUEST_RSP, SHADOW_RSP);
    inner_set(TSC_OFFSET, SHADOW_TSC);
    for (u32 i = 0; i < sizeof bitmaps; i++)
        (&bitmaps[0][0])[i] = 0;
    return true;
}

static void shadow_in_root_operation(void)
{
    if (!make_shadow())
        return;
    inner_want("the pointer", current(), (u64)&shadow);
    if (inner_bare) { /* Bochs sets ZF */
        inner_want("VMLAUNCH fails", lab_enter(&inner_registers, LAUNCH) != 0, 1);
    } else {
        inner_want("VMLAUNCH", lab_enter(&inner_registers, LAUNCH), 1);
        inner_want("VMLAUNCH behind MOV SS", lab_enter(&inner_registers, LAUNCH_BEHIND_MOV_SS), 1);
        inner_want("VMRESUME", lab_enter(&inner_registers, RESUME), 1);
    }
    inner_begin(nothing);
    inner_want("VMLAUNCH of an ordinary one", enter(LAUNCH), REASON_VMCALL);
    inner_want("VMPTRLD", vmx_vmptrld((u64)&shadow), DONE);
    inner_want("a field", inner_get(GUEST_RSP), SHADOW_RSP);
    inner_want("VMCLEAR", vmx_vmclear((u64)&shadow), DONE);
    want_no_vmcs();
    shadow.revision ^= 1;
    inner_want("VMPTRLD with another revision", vmx_vmptrld((u64)&shadow), INVALID);
}

/* RDX has the encoding; RAX or memory the field, RCX the flags. */
#define WITH_FLAGS(name, text) PROGRAM(name, text "\n\tpushfq\n\tpopq %rcx")
WITH_FLAGS(reads, "vmread %rdx, %rax")
WITH_FLAGS(reads_memory, "vmread %rdx, 8(%rbx)\n\tmov 8(%rbx), %rax")
WITH_FLAGS(writes, "vmwrite %rsi, %rdx")
WITH_FLAGS(writes_memory, "vmwrite 8(%rbx), %rdx")

#define FLAG_CF   1u
#define FLAG_ZF   0x40u
#define ALL_FLAGS 0x8d5u

static void begin_linked(program *start, u64 encoding)
{
    inner_begin(start);
    inner_add(PROC2_CONTROLS, PROC2_VMCS_SHADOWING);
    inner_set(VMREAD_BITMAP, (u64)bitmaps[0]);
    inner_set(VMWRITE_BITMAP, (u64)bitmaps[1]);
    inner_set(VMCS_LINK_POINTER, (u64)&shadow);
    inner_registers.rdx = encoding;
    inner_registers.rax = 0x77;
}

static void want_linked(program *start, u64 encoding, u64 rax, u32 flags)
{
    begin_linked(start, encoding);
    inner_want_call(rax);
    inner_want("flags", inner_registers.rcx & ALL_FLAGS, flags);
}

static u64 field_of_shadow(u32 field)
{
    inner_want("VMPTRLD", vmx_vmptrld((u64)&shadow), DONE);
    u64 value = inner_get(field);
    inner_want("VMCLEAR", vmx_vmclear((u64)&shadow), DONE);
    return value;
}

static void fields_of_shadow(void)
{
    static u64 *const cell = (u64 *)&inner_page[8];

    if (!make_shadow())
        return;
    inner_want("VMCLEAR", vmx_vmclear((u64)&shadow), DONE);
    want_linked(reads, GUEST_RSP, SHADOW_RSP, 0);
    want_linked(reads_memory, TSC_OFFSET, SHADOW_TSC, 0);
    want_linked(reads, TSC_OFFSET + 1, SHADOW_TSC >> 32, 0);
    begin_linked(writes, GUEST_RSP);
    inner_registers.rsi = 0x4715000;
    inner_want_call(0x77);
    inner_want("RSP of the VMCS that was entered", inner_get(GUEST_RSP), (u64)lab_inner_stack);
    inner_want("RSP of the shadow VMCS", field_of_shadow(GUEST_RSP), 0x4715000);
    *cell = 0x1111111122222222;
    want_linked(writes_memory, TSC_OFFSET + 1, 0x77, 0);
    inner_want("the TSC offset", field_of_shadow(TSC_OFFSET), 0x22222222ull << 32 | (u32)SHADOW_TSC);
    want_linked(reads, 0x6bfe, 0x77, FLAG_ZF);
    inner_want("the error of a field that is none", inner_get(INSTRUCTION_ERROR), 12);
    bool writable = inner_read_msr(0x485) >> 29 & 1;
    want_linked(writes, EXIT_REASON, 0x77, writable ? 0 : FLAG_ZF);
    if (!writable)
        inner_want("the error of a read-only field", inner_get(INSTRUCTION_ERROR), 13);
    begin_linked(reads, GUEST_RSP);
    inner_set(VMCS_LINK_POINTER, ~0ull);
    inner_want_call(0x77);
    inner_want("flags without a link", inner_registers.rcx & ALL_FLAGS, FLAG_CF);
    begin_linked(reads_memory, GUEST_RSP);
    inner_registers.rbx = UNMAPPED;
    inner_want_call(TRAPPED(14));
    inner_want("error code", inner_trap.error, 2);
}

/* SDM 3C 25.1.3: a bit of the bitmap, or of the encoding beyond the 15 that have one. Then comes the CPL. */
static void exits_of_shadow(void)
{
    static const struct {
        program *start;
        u64 encoding;
        u32 bitmap, bit; /* that is set */
        u32 reason;
    } rows[] = {
        {reads,         GUEST_RSP,              0, GUEST_RSP,     REASON_VMREAD },
        {reads,         GUEST_RSP,              0, GUEST_RSP + 1, REASON_VMCALL },
        {reads,         GUEST_RSP,              1, GUEST_RSP,     REASON_VMCALL },
        {reads_memory,  GUEST_RSP,              0, GUEST_RSP,     REASON_VMREAD },
        {writes,        GUEST_RSP,              1, GUEST_RSP,     REASON_VMWRITE},
        {writes,        GUEST_RSP,              0, GUEST_RSP,     REASON_VMCALL },
        {writes_memory, 0x7fff,                 1, 0x7fff,        REASON_VMWRITE},
        {reads,         0x7fff,                 0, 0x7ffe,        REASON_VMCALL },
        {reads,         0x8000 | GUEST_RSP,     0, 0,             REASON_VMREAD },
        {writes,        1ull << 32 | GUEST_RSP, 0, 0,             REASON_VMWRITE},
        {writes,        WHOLE,                  0, 1,             REASON_VMWRITE},
    };

    if (!make_shadow())
        return;
    inner_want("VMCLEAR", vmx_vmclear((u64)&shadow), DONE);
    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        u8 *byte = &bitmaps[rows[i].bitmap][rows[i].bit / 8];
        *byte = (u8)(1u << rows[i].bit % 8);
        for (u32 ring = 0; ring < 4; ring += 3) {
            begin_linked(rows[i].start, rows[i].encoding);
            set_ring(ring);
            inner_set(EXCEPTION_BITMAP, 1u << 13);
            if (rows[i].reason != REASON_VMCALL)
                inner_want_exit(rows[i].reason, rows[i].start, 0);
            else if (ring)
                inner_want_exit(REASON_EXCEPTION, rows[i].start, 0);
            else
                inner_want("exit reason", inner_go(), REASON_VMCALL);
        }
        *byte = 0;
    }
}

/* SDM 3C 26.3.1.5 "Checks on Guest Non-Register State", 26.2.1.1 "VM-Execution Control Fields" */
static void links_that_are_refused(void)
{
    enum { REFUSED = 0x80000021, LINK = 4 };

    if (!make_shadow())
        return;
    inner_want("VMCLEAR", vmx_vmclear((u64)&shadow), DONE);
    begin_linked(nothing, 0);
    inner_drop(PROC2_CONTROLS, PROC2_VMCS_SHADOWING);
    inner_want("an entry without VMCS shadowing", inner_go(), REFUSED);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), LINK);
    begin_linked(nothing, 0);
    shadow.revision ^= SHADOW_VMCS;
    inner_want("an entry that links an ordinary VMCS", inner_go(), REFUSED);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), LINK);
    shadow.revision ^= SHADOW_VMCS;
    inner_want_exit(REASON_VMCALL, nothing, 0);
    begin_linked(nothing, 0);
    inner_set(VMWRITE_BITMAP, (u64)bitmaps + 8);
    inner_want("an entry with a bitmap that is not aligned", inner_go(), NOT_ENTERED | 7);
}

/* ---- what fails ---- */

#define MSR_EPT_VPID 0x48cu
#define CAP_INVEPT   (1u << 20)
#define EPTP         (3u << 3 | 6u)

/* SDM 3C 30.3 "VMX Instructions". */
static void invalidations(void)
{
    static const struct {
        bool vpid;
        u64 type, first, second;
        bool good;
    } rows[] = {
        {false, 0,          EPTP,              0,           false},
        {false, 1,          EPTP,              0,           true },
        {false, 1,          0,                 0,           false}, /* no walk of 4 levels */
        {false, 1,          EPTP | 1,          0,           false}, /* a reserved memory type */
        {false, 1,          EPTP | 1u << 11,   0,           false},
        {false, 1,          EPTP | 1ull << 60, 0,           false}, /* wider than an address */
        {false, 2,          ~0ull,             0,           true }, /* no EPTP is looked at */
        {false, 3,          EPTP,              0,           false},
        {false, 1ull << 32, EPTP,              0,           false}, /* the type has 64 bits */
        {true,  0,          1,                 0x1000,      true },
        {true,  0,          1,                 1ull << 47,  false},
        {true,  0,          1,                 ~0ull << 47, true },
        {true,  0,          0,                 0x1000,      false},
        {true,  0,          1 | 1ull << 16,    0,           false},
        {true,  1,          0,                 0,           false},
        {true,  1,          0xffff,            1ull << 47,  true }, /* no address is looked at */
        {true,  1,          1 | 1ull << 63,    0,           false},
        {true,  2,          0,                 0,           true },
        {true,  3,          1,                 0,           true },
        {true,  3,          0,                 0,           false},
        {true,  4,          1,                 0,           false},
        {true,  ~0ull,      1,                 0,           false},
    };
    u64 capabilities = inner_read_msr(MSR_EPT_VPID);

    if (!(capabilities & CAP_INVEPT) || !inner_can(PROC2_CONTROLS, PROC2_VPID)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    inner_begin(nothing);
    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        u32 answer = inner_invalidate(rows[i].vpid, rows[i].type, rows[i].first, rows[i].second);
        inner_want("the answer", answer, rows[i].good ? DONE : ERROR_INVALIDATE);
    }
    inner_want("INVVPID through no page", fault_of_invvpid(1), 14);
    if (!inner_bare) { /* the type is looked at before; in Bochs after */
        inner_want("INVVPID of type 7 through no page", fault_of_invvpid(7), NO_VMCS);
        inner_want("its error", inner_get(INSTRUCTION_ERROR), ERROR_INVALIDATE);
    }
    inner_want("VMCLEAR", vmx_vmclear(current()), DONE);
    inner_want("INVEPT without a VMCS", inner_invalidate(false, 0, EPTP, 0), INVALID);
    inner_want("INVVPID without a VMCS", inner_invalidate(true, 4, 1, 0), INVALID);
}

/* ---- calls ---- */

PROGRAM(vmfunc, "xor %eax, %eax\n\tvmfunc")
PROGRAM(calls, "mov $7, %eax")

static void vm_functions(void)
{
    inner_want("VMFUNC in VMX root operation", fault_of_vmfunc(0), 6);
    inner_begin(vmfunc);
    inner_want_call(TRAPPED(6));
}

/* VMCALL and the other VMX instructions exit whatever the CPL is. SDM 3C 25.1.1 "Relative Priority of Faults and VM
 * Exits" */
PROGRAM(vmread_at_3, "vmread %rax, %rdx")

static void at_ring(program *start, u32 ring)
{
    inner_begin(start);
    set_ring(ring);
}

static void calls_of_rings(void)
{
    for (u32 ring = 0; ring < 4; ring++) {
        at_ring(calls, ring);
        inner_want("exit reason", inner_go(), REASON_VMCALL);
        inner_want("RAX", inner_registers.rax, 7);
        inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), 3);
        inner_want("CS", inner_get(GUEST_CS_SELECTOR), SELECTOR_CODE | ring);
        inner_want("DPL of SS", inner_get(GUEST_SS_ACCESS) >> 5 & 3, ring);
        at_ring(vmread_at_3, ring);
        inner_want_exit(REASON_VMREAD, vmread_at_3, 0);
    }
}

void inner_life(void)
{
    static const struct inner_row scenarios[] = {
        {"clear and launched",                    clear_and_launched      },
        {"VMXOFF and VMXON",                      off_and_on              },
        {"two VMCSs by turns",                    by_turns                },
        {"a shadow VMCS in root operation",       shadow_in_root_operation},
        {"fields of a shadow VMCS",               fields_of_shadow        },
        {"VMREADs that exit with VMCS shadowing", exits_of_shadow         },
        {"links that are refused",                links_that_are_refused  },
        {"INVEPT and INVVPID that fail",          invalidations           },
        {"VMFUNC",                                vm_functions            },
        {"VMCALL in each ring",                   calls_of_rings          },
    };

    inner_run(scenarios, ARRAY_LENGTH(scenarios), NULL);
}
