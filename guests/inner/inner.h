/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the scenarios share: one VMCS, its inner guest, and the comparison of what was seen with what the SDM says. The
 * VMX instructions and the way into an inner guest and out are the lab's.
 */
#ifndef GUEST_INNER_H
#define GUEST_INNER_H

#include "guests/lab/lab.h"
#include "guests/lib/guest.h"

/* Fields beside those in lab.h. SDM 3D Appendix B "Field Encoding in VMCS" */
enum {
    IO_BITMAP_A = 0x2000,
    IO_BITMAP_B = 0x2002,
    EXIT_MSR_STORE_ADDRESS = 0x2006,
    EXIT_MSR_LOAD_ADDRESS = 0x2008,
    TSC_OFFSET = 0x2010,
    VIRTUAL_APIC_ADDRESS = 0x2012,
    VM_FUNCTION_CONTROLS = 0x2018,
    EPTP_LIST_ADDRESS = 0x2024,
    VMREAD_BITMAP = 0x2026,
    VMWRITE_BITMAP = 0x2028,
    XSS_EXITING_BITMAP = 0x202c,
    GUEST_PHYSICAL_ADDRESS = 0x2400,
    GUEST_PAT = 0x2804,
    GUEST_EFER = 0x2806,
    GUEST_PDPTE_0 = 0x280a,
    HOST_PAT = 0x2c00,
    HOST_EFER = 0x2c02,
    ENTRY_ERROR_CODE = 0x4018,
    ENTRY_INSTRUCTION_LENGTH = 0x401a,
    TPR_THRESHOLD = 0x401c,
    EXIT_INTERRUPTION_INFO = 0x4404,
    EXIT_INTERRUPTION_ERROR_CODE = 0x4406,
    IDT_VECTORING_INFO = 0x4408,
    IDT_VECTORING_ERROR_CODE = 0x440a,
    EXIT_INSTRUCTION_INFO = 0x440e,
    PREEMPTION_TIMER_VALUE = 0x482e,
    CR0_SHADOW = 0x6004,
    CR4_SHADOW = 0x6006,
    CR3_TARGET_0 = 0x6008,
    GUEST_LINEAR_ADDRESS = 0x640a,
    GUEST_FS_BASE = 0x680e,
    GUEST_GS_BASE = 0x6810,
};

/* Controls beside those in lab.h. SDM 3C 24.6, 24.7, 24.8 */
#define PIN_EXTERNAL_INTERRUPTS 0x00000001u
#define PIN_NMI                 0x00000008u
#define PIN_VIRTUAL_NMIS        0x00000020u
#define PIN_TIMER               0x00000040u
#define PROC_INTERRUPT_WINDOW   0x00000004u
#define PROC_TSC_OFFSETTING     0x00000008u
#define PROC_INVLPG             0x00000200u
#define PROC_MWAIT              0x00000400u
#define PROC_RDPMC              0x00000800u
#define PROC_RDTSC              0x00001000u
#define PROC_CR3_LOAD           0x00008000u
#define PROC_CR3_STORE          0x00010000u
#define PROC_CR8_LOAD           0x00080000u
#define PROC_CR8_STORE          0x00100000u
#define PROC_TPR_SHADOW         0x00200000u
#define PROC_MOV_DR             0x00800000u
#define PROC_IO                 0x01000000u
#define PROC_IO_BITMAPS         0x02000000u
#define PROC_TRAP_FLAG          0x08000000u
#define PROC_MONITOR            0x20000000u
#define PROC_PAUSE              0x40000000u
#define PROC2_DESCRIPTOR_TABLE  0x00000004u
#define PROC2_RDTSCP            0x00000008u
#define PROC2_WBINVD            0x00000040u
#define PROC2_RDRAND            0x00000800u
#define PROC2_INVPCID           0x00001000u
#define PROC2_VMFUNC            0x00002000u
#define PROC2_VMCS_SHADOWING    0x00004000u
#define PROC2_RDSEED            0x00010000u
#define PROC2_XSAVES            0x00100000u
#define EXIT_SAVE_DEBUG         0x00000004u
#define EXIT_ACKNOWLEDGE        0x00008000u
#define EXIT_SAVE_PAT           0x00040000u
#define EXIT_LOAD_PAT           0x00080000u
#define EXIT_SAVE_EFER          0x00100000u
#define EXIT_LOAD_EFER          0x00200000u
#define EXIT_SAVE_TIMER         0x00400000u
#define ENTRY_LOAD_DEBUG        0x00000004u
#define ENTRY_LOAD_PAT          0x00004000u
#define ENTRY_LOAD_EFER         0x00008000u

/* SDM 3D Appendix C "VMX Basic Exit Reasons" */
enum {
    REASON_EXCEPTION = 0,
    REASON_INTERRUPT = 1,
    REASON_TRIPLE_FAULT = 2,
    REASON_INIT = 3,
    REASON_INTERRUPT_WINDOW = 7,
    REASON_NMI_WINDOW = 8,
    REASON_TASK_SWITCH = 9,
    REASON_CPUID = 10,
    REASON_HLT = 12,
    REASON_INVD = 13,
    REASON_INVLPG = 14,
    REASON_RDPMC = 15,
    REASON_RDTSC = 16,
    REASON_VMCALL = 18,
    REASON_VMCLEAR = 19,
    REASON_VMLAUNCH = 20,
    REASON_VMPTRLD = 21,
    REASON_VMPTRST = 22,
    REASON_VMREAD = 23,
    REASON_VMRESUME = 24,
    REASON_VMWRITE = 25,
    REASON_VMXOFF = 26,
    REASON_VMXON = 27,
    REASON_CR = 28,
    REASON_MOV_DR = 29,
    REASON_IO = 30,
    REASON_RDMSR = 31,
    REASON_WRMSR = 32,
    REASON_TRAP_FLAG = 37,
    REASON_MONITOR = 39,
    REASON_PAUSE = 40,
    REASON_TPR_BELOW_THRESHOLD = 43,
    REASON_GDTR_OR_IDTR = 46,
    REASON_LDTR_OR_TR = 47,
    REASON_EPT_VIOLATION = 48,
    REASON_EPT_MISCONFIGURATION = 49,
    REASON_INVEPT = 50,
    REASON_RDTSCP = 51,
    REASON_TIMER = 52,
    REASON_INVVPID = 53,
    REASON_WBINVD = 54,
    REASON_XSETBV = 55,
    REASON_RDRAND = 57,
    REASON_INVPCID = 58,
    REASON_VMFUNC = 59,
    REASON_RDSEED = 61,
};

/* The format of events. SDM 3C 24.8.3 "VM-Entry Controls for Event Injection" */
#define VALID     0x80000000u
#define WITH_CODE 0x800u
#define EXTERNAL  (0u << 8)
#define NMI       (2u << 8)
#define HARDWARE  (3u << 8)
#define SOFT_INT  (4u << 8)
#define SOFT_PRIV (5u << 8)
#define SOFT      (6u << 8)

/* The local APIC. SDM 3A 10.4.1 "The Local APIC Block Diagram", table 10-1; 10.6.1 "Interrupt Command Register (ICR)"
 */
#define APIC          0xfee00000u
#define APIC_ID       0x20u
#define APIC_EOI      0xb0u
#define APIC_SPURIOUS 0xf0u
#define APIC_REQUESTS 0x200u /* 8 registers, 16 bytes apart */
#define APIC_ICR      0x300u
#define APIC_ICR_HIGH 0x310u
#define APIC_TIMER    0x320u
#define APIC_COUNT    0x380u
#define APIC_DIVIDE   0x3e0u
#define APIC_ON       0x13fu /* of the spurious-interrupt vector register */
#define ICR_FIXED     0x4000u
#define ICR_NMI       0x4400u
#define ICR_INIT      0x4500u
#define ICR_SIPI      0x4600u

static inline u32 apic_read(u32 offset)
{
    return *(volatile u32 *)(uintptr_t)(APIC + offset);
}

static inline void apic_write(u32 offset, u32 value)
{
    *(volatile u32 *)(uintptr_t)(APIC + offset) = value;
}

#define UNMAPPED 0x140000000ull /* behind the 4 GiB that the page tables have */

#define RFLAGS_RF    0x10000u
#define RFLAGS_TF    0x100u
#define RFLAGS_IF    0x200u
#define RFLAGS_FIXED 2u

/* What an inner guest is made of: instructions, then VMCALL with whatever is in RAX. */
#define PROGRAM(name, text)                                                                                            \
    static __attribute__((naked)) void name(void)                                                                      \
    {                                                                                                                  \
        __asm__(text "\n\tvmcall\n\tud2");                                                                             \
    }
typedef void program(void);

/* An exception or interrupt in the inner guest comes out as VMCALL with this in RAX; inner_trap has the rest. */
#define TRAPPED(vector) (0x100u + (vector))
struct trap {
    u64 vector, error, rip, cs, rflags, rsp, ss;
};
extern struct trap inner_trap, inner_host_trap;
extern u64 inner_host_count, inner_host_fixup; /* of exceptions and interrupts in the hypervisor */
void inner_end_nmi(void);

/* No Rootlet below: where the engine is not a CPU, a scenario may accept what it does, here only. */
extern bool inner_bare;
extern struct registers inner_registers;
extern u8 inner_page[PAGE_BYTES], inner_tables[][PAGE_BYTES];
extern u64 inner_pml4[512];

/* A new VMCS: 64-bit mode with the hypervisor's page tables, interrupts off, no control but the necessary ones. */
void inner_begin(program *start);
/* The same for the VMCS that is current. */
void inner_fill(program *start);
void inner_set_host(void);
/* For a vCPU that begins: its interrupt table, and CR0 and CR4 as VMXON wants them. */
void inner_enable_vmx(void);
void inner_load_idt(void);
u64 inner_vmxon_region(void);
void inner_leave_long_mode(u64 cr0);
void inner_protected_mode(void); /* with PAE paging, without EPT */
u64 inner_get(u32 field);
void inner_set(u32 field, u64 value);
void inner_add(u32 field, u32 controls); /* one of the fields of controls */
void inner_drop(u32 field, u32 controls);
bool inner_can(u32 field, u32 controls);
/* Enters; the exit reason, or NOT_ENTERED and the error's number. */
#define NOT_ENTERED 0x1000u
u32 inner_go(void);
void inner_skip(void); /* behind the instruction that exited */

/* INVVPID or INVEPT with this descriptor: as vmx_answer() has it. */
u32 inner_invalidate(bool vpid, u64 type, u64 first, u64 second);
u64 inner_read_msr(u32 index);
void inner_write_msr(u32 index, u64 value);

/* ---- scenarios ---- */

void inner_scenario(const char *name);
void inner_scenario_end(void);
struct inner_row {
    const char *name;
    void (*run)(void);
};
/* One after the other; `missing`, unless NULL, is why all of them are left out. */
void inner_run(const struct inner_row *rows, u32 count, const char *missing);
/* What is missing for the scenario that has begun. */
void inner_leave_out(const char *why);
void inner_want(const char *what, u64 seen, u64 wanted);
/* Enters, and wants this exit, with the inner guest's RIP so far from `at`. */
void inner_want_exit(u32 reason, program *at, u64 offset);
void inner_want_call(u64 rax);

void inner_controls(void);
void inner_events(void);
void inner_state(void);
void inner_memory(void);
void inner_tasks(void);
void inner_life(void);
void inner_several(void);
/* A vCPU beside the first begins at inner_second, in flat 32-bit protected mode, or by SIPI in the first page where
 * there are the bytes from inner_trampoline on; in 64-bit mode it goes on in inner_other, which does not return. */
void inner_second(void);
extern u8 inner_trampoline[], inner_trampoline_end[];
extern void (*inner_other)(void);
extern u8 inner_other_stack[PAGE_BYTES];
void inner_measure(void);
/* A hostile hypervisor instead, so many VMCSs: wild.c. */
void inner_wild(u32 rounds);
u32 inner_first_touch(void); /* of a page of 4 KiB, in ticks */

#endif
