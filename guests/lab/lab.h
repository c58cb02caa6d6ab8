/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMX instructions as functions, and the VMCS fields, MSRs and bits that the lab uses. SDM 3C 30.3 "VMX
 * Instructions", 3D Appendix B "Field Encoding in VMCS".
 */
#ifndef GUEST_LAB_H
#define GUEST_LAB_H

#include "guests/lib/types.h"

#define PAGE_BYTES 4096u

/* How an instruction or an entry ended: 0, an error number of SDM 3C 30.4, or one of these. */
#define DONE                     0u
#define INVALID                  0x100u /* VMfailInvalid: there is no current VMCS to hold a number */
#define EXIT(reason, qualifying) (0x10000u | (reason) << 8 | (qualifying))

enum field {
    VPID = 0x0000,
    GUEST_ES_SELECTOR = 0x0800,
    GUEST_CS_SELECTOR = 0x0802,
    GUEST_SS_SELECTOR = 0x0804,
    GUEST_DS_SELECTOR = 0x0806,
    GUEST_FS_SELECTOR = 0x0808,
    GUEST_GS_SELECTOR = 0x080a,
    GUEST_LDTR_SELECTOR = 0x080c,
    GUEST_TR_SELECTOR = 0x080e,
    HOST_ES_SELECTOR = 0x0c00,
    HOST_CS_SELECTOR = 0x0c02,
    HOST_SS_SELECTOR = 0x0c04,
    HOST_DS_SELECTOR = 0x0c06,
    HOST_FS_SELECTOR = 0x0c08,
    HOST_GS_SELECTOR = 0x0c0a,
    HOST_TR_SELECTOR = 0x0c0c,
    MSR_BITMAPS = 0x2004,
    ENTRY_MSR_LOAD_ADDRESS = 0x200a,
    EPT_POINTER = 0x201a,
    VMCS_LINK_POINTER = 0x2800,
    GUEST_DEBUGCTL = 0x2802,
    PIN_CONTROLS = 0x4000,
    PROC_CONTROLS = 0x4002,
    EXCEPTION_BITMAP = 0x4004,
    PF_ERROR_MASK = 0x4006,
    PF_ERROR_MATCH = 0x4008,
    CR3_TARGET_COUNT = 0x400a,
    EXIT_CONTROLS = 0x400c,
    EXIT_MSR_STORE_COUNT = 0x400e,
    EXIT_MSR_LOAD_COUNT = 0x4010,
    ENTRY_CONTROLS = 0x4012,
    ENTRY_MSR_LOAD_COUNT = 0x4014,
    ENTRY_INTERRUPTION_INFO = 0x4016,
    PROC2_CONTROLS = 0x401e,
    INSTRUCTION_ERROR = 0x4400,
    EXIT_REASON = 0x4402,
    EXIT_INSTRUCTION_LENGTH = 0x440c,
    GUEST_ES_LIMIT = 0x4800,
    GUEST_TR_LIMIT = 0x480e,
    GUEST_GDTR_LIMIT = 0x4810,
    GUEST_IDTR_LIMIT = 0x4812,
    GUEST_ES_ACCESS = 0x4814,
    GUEST_CS_ACCESS = 0x4816,
    GUEST_SS_ACCESS = 0x4818,
    GUEST_DS_ACCESS = 0x481a,
    GUEST_FS_ACCESS = 0x481c,
    GUEST_LDTR_ACCESS = 0x4820,
    GUEST_TR_ACCESS = 0x4822,
    GUEST_INTERRUPTIBILITY = 0x4824,
    GUEST_ACTIVITY_STATE = 0x4826,
    GUEST_SYSENTER_CS = 0x482a,
    HOST_SYSENTER_CS = 0x4c00,
    CR0_MASK = 0x6000,
    CR4_MASK = 0x6002,
    EXIT_QUALIFICATION = 0x6400,
    GUEST_CR0 = 0x6800,
    GUEST_CR3 = 0x6802,
    GUEST_CR4 = 0x6804,
    GUEST_ES_BASE = 0x6806,
    GUEST_DS_BASE = 0x680c,
    GUEST_TR_BASE = 0x6814,
    GUEST_GDTR_BASE = 0x6816,
    GUEST_IDTR_BASE = 0x6818,
    GUEST_DR7 = 0x681a,
    GUEST_RSP = 0x681c,
    GUEST_RIP = 0x681e,
    GUEST_RFLAGS = 0x6820,
    GUEST_PENDING_DEBUG = 0x6822,
    GUEST_SYSENTER_ESP = 0x6824,
    GUEST_SYSENTER_EIP = 0x6826,
    HOST_CR0 = 0x6c00,
    HOST_CR3 = 0x6c02,
    HOST_CR4 = 0x6c04,
    HOST_FS_BASE = 0x6c06,
    HOST_GS_BASE = 0x6c08,
    HOST_TR_BASE = 0x6c0a,
    HOST_GDTR_BASE = 0x6c0c,
    HOST_IDTR_BASE = 0x6c0e,
    HOST_SYSENTER_ESP = 0x6c10,
    HOST_SYSENTER_EIP = 0x6c12,
    HOST_RIP = 0x6c16,
};

#define PROC_HLT_EXITING         0x00000080u
#define PROC_NMI_WINDOW          0x00400000u
#define PROC_MSR_BITMAPS         0x10000000u
#define PROC_SECONDARY           0x80000000u
#define PROC2_EPT                0x00000002u
#define PROC2_VPID               0x00000020u
#define PROC2_UNRESTRICTED_GUEST 0x00000080u
#define EXIT_HOST_ADDRESS_SPACE  0x00000200u
#define ENTRY_IA32E_GUEST        0x00000200u

#define SELECTOR_CODE 0x08u
#define SELECTOR_DATA 0x10u
#define SELECTOR_TASK 0x18u

/* The order is entry.asm's. */
struct registers {
    u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
};
enum { LAUNCH, RESUME, LAUNCH_BEHIND_MOV_SS };

u32 lab_enter(struct registers *inner, u32 how);
void lab_exit(void);
void lab_inner(void);
extern u8 lab_inner_stack[], lab_tss[], lab_gdt[];

/* A page that begins with the revision identifier: for VMXON, or a VMCS. */
struct region {
    u32 revision, abort;
    u8 data[PAGE_BYTES - 8];
} __attribute__((aligned(PAGE_BYTES)));

extern struct region lab_vmxon_region, lab_vmcs;

/* A new VMCS, current and complete: only the mistakes are missing. */
void lab_prepare(void);
/* Enters and says how that ended. */
u32 lab_try(struct registers *inner, u32 how);
/* In a VM of Rootlet's: prints why the last entry was refused. */
void lab_say_why(void);
/*
 * Each typical mistake, what the CPU says of it, and whether that is what the SDM says; returns how many are not so.
 * One of them needs an inner guest that was launched.
 */
u32 lab_mistakes(bool with_launch);
/* Those with the instructions before and after VMXON, which *begins* VMX operation. */
void lab_mistakes_before_vmxon(void);

u64 lab_field(enum field field);
void lab_set(enum field field, u64 value);
u64 lab_read_msr(u32 index);

/* SDM 3C 30.2 "Conventions": CF is VMfailInvalid, ZF is VMfailValid, whose number is in a field of the VMCS. */
static inline u32 vmx_read(u64 field, u64 *value)
{
    bool cf, zf;
    __asm__ volatile("vmread %3, %2" : "=@ccc"(cf), "=@ccz"(zf), "=r"(*value) : "r"(field));
    if (cf)
        return INVALID;
    if (!zf)
        return DONE;
    u64 error;
    __asm__ volatile("vmread %1, %0" : "=r"(error) : "r"((u64)INSTRUCTION_ERROR) : "cc");
    return (u32)error;
}

static inline u32 vmx_answer(bool cf, bool zf)
{
    u64 error = DONE;
    return cf ? INVALID : zf && vmx_read(INSTRUCTION_ERROR, &error) != DONE ? INVALID : (u32)error;
}

#define VMX_WITH_ADDRESS(name)                                                                                         \
    static inline u32 vmx_##name(u64 address)                                                                          \
    {                                                                                                                  \
        bool cf, zf;                                                                                                   \
        __asm__ volatile(#name " %2" : "=@ccc"(cf), "=@ccz"(zf) : "m"(address) : "memory");                            \
        return vmx_answer(cf, zf);                                                                                     \
    }
VMX_WITH_ADDRESS(vmxon)
VMX_WITH_ADDRESS(vmclear)
VMX_WITH_ADDRESS(vmptrld)

static inline u32 vmx_write(u64 field, u64 value)
{
    bool cf, zf;
    __asm__ volatile("vmwrite %2, %3" : "=@ccc"(cf), "=@ccz"(zf) : "r"(value), "r"(field) : "memory");
    return vmx_answer(cf, zf);
}

static inline u32 vmx_invept(u64 type)
{
    struct {
        u64 eptp, reserved;
    } descriptor = {0, 0};
    bool cf, zf;
    __asm__ volatile("invept %2, %3" : "=@ccc"(cf), "=@ccz"(zf) : "m"(descriptor), "r"(type) : "memory");
    return vmx_answer(cf, zf);
}

static inline u32 vmx_off(void)
{
    bool cf, zf;
    __asm__ volatile("vmxoff" : "=@ccc"(cf), "=@ccz"(zf) : : "memory");
    return vmx_answer(cf, zf);
}

#endif
