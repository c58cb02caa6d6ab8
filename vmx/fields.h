/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every VMCS field, once: name, encoding, width, access. SDM 3D Appendix B "Field Encoding in VMCS".
 * A field is an object of a type that says its width and whether it may be written, so that vmcs_read and vmcs_write
 * (vmcs.h) refuse the wrong width and a write to a read-only field at compile time.
 */
#ifndef ROOTLET_VMX_FIELDS_H
#define ROOTLET_VMX_FIELDS_H

#include "kernel/lib/types.h"

/* F(name, encoding, width, access): width 16, 32, 64 or nat; access rw or ro. */
#define VMCS_FIELDS(F)                                                                                                 \
    F(VPID, 0x0000, 16, rw)                                                                                            \
    F(POSTED_INTERRUPT_VECTOR, 0x0002, 16, rw)                                                                         \
    F(EPTP_INDEX, 0x0004, 16, rw)                                                                                      \
    F(GUEST_ES_SELECTOR, 0x0800, 16, rw)                                                                               \
    F(GUEST_CS_SELECTOR, 0x0802, 16, rw)                                                                               \
    F(GUEST_SS_SELECTOR, 0x0804, 16, rw)                                                                               \
    F(GUEST_DS_SELECTOR, 0x0806, 16, rw)                                                                               \
    F(GUEST_FS_SELECTOR, 0x0808, 16, rw)                                                                               \
    F(GUEST_GS_SELECTOR, 0x080a, 16, rw)                                                                               \
    F(GUEST_LDTR_SELECTOR, 0x080c, 16, rw)                                                                             \
    F(GUEST_TR_SELECTOR, 0x080e, 16, rw)                                                                               \
    F(GUEST_INTERRUPT_STATUS, 0x0810, 16, rw)                                                                          \
    F(PML_INDEX, 0x0812, 16, rw)                                                                                       \
    F(HOST_ES_SELECTOR, 0x0c00, 16, rw)                                                                                \
    F(HOST_CS_SELECTOR, 0x0c02, 16, rw)                                                                                \
    F(HOST_SS_SELECTOR, 0x0c04, 16, rw)                                                                                \
    F(HOST_DS_SELECTOR, 0x0c06, 16, rw)                                                                                \
    F(HOST_FS_SELECTOR, 0x0c08, 16, rw)                                                                                \
    F(HOST_GS_SELECTOR, 0x0c0a, 16, rw)                                                                                \
    F(HOST_TR_SELECTOR, 0x0c0c, 16, rw)                                                                                \
    F(IO_BITMAP_A, 0x2000, 64, rw)                                                                                     \
    F(IO_BITMAP_B, 0x2002, 64, rw)                                                                                     \
    F(MSR_BITMAPS, 0x2004, 64, rw)                                                                                     \
    F(EXIT_MSR_STORE_ADDRESS, 0x2006, 64, rw)                                                                          \
    F(EXIT_MSR_LOAD_ADDRESS, 0x2008, 64, rw)                                                                           \
    F(ENTRY_MSR_LOAD_ADDRESS, 0x200a, 64, rw)                                                                          \
    F(EXECUTIVE_VMCS_POINTER, 0x200c, 64, rw)                                                                          \
    F(PML_ADDRESS, 0x200e, 64, rw)                                                                                     \
    F(TSC_OFFSET, 0x2010, 64, rw)                                                                                      \
    F(VIRTUAL_APIC_ADDRESS, 0x2012, 64, rw)                                                                            \
    F(APIC_ACCESS_ADDRESS, 0x2014, 64, rw)                                                                             \
    F(POSTED_INTERRUPT_DESCRIPTOR, 0x2016, 64, rw)                                                                     \
    F(VM_FUNCTION_CONTROLS, 0x2018, 64, rw)                                                                            \
    F(EPT_POINTER, 0x201a, 64, rw)                                                                                     \
    F(EOI_EXIT_BITMAP_0, 0x201c, 64, rw)                                                                               \
    F(EOI_EXIT_BITMAP_1, 0x201e, 64, rw)                                                                               \
    F(EOI_EXIT_BITMAP_2, 0x2020, 64, rw)                                                                               \
    F(EOI_EXIT_BITMAP_3, 0x2022, 64, rw)                                                                               \
    F(EPTP_LIST_ADDRESS, 0x2024, 64, rw)                                                                               \
    F(VMREAD_BITMAP, 0x2026, 64, rw)                                                                                   \
    F(VMWRITE_BITMAP, 0x2028, 64, rw)                                                                                  \
    F(VE_INFORMATION_ADDRESS, 0x202a, 64, rw)                                                                          \
    F(XSS_EXITING_BITMAP, 0x202c, 64, rw)                                                                              \
    F(ENCLS_EXITING_BITMAP, 0x202e, 64, rw)                                                                            \
    F(TSC_MULTIPLIER, 0x2032, 64, rw)                                                                                  \
    F(GUEST_PHYSICAL_ADDRESS, 0x2400, 64, ro)                                                                          \
    F(VMCS_LINK_POINTER, 0x2800, 64, rw)                                                                               \
    F(GUEST_DEBUGCTL, 0x2802, 64, rw)                                                                                  \
    F(GUEST_PAT, 0x2804, 64, rw)                                                                                       \
    F(GUEST_EFER, 0x2806, 64, rw)                                                                                      \
    F(GUEST_PERF_GLOBAL_CTRL, 0x2808, 64, rw)                                                                          \
    F(GUEST_PDPTE0, 0x280a, 64, rw)                                                                                    \
    F(GUEST_PDPTE1, 0x280c, 64, rw)                                                                                    \
    F(GUEST_PDPTE2, 0x280e, 64, rw)                                                                                    \
    F(GUEST_PDPTE3, 0x2810, 64, rw)                                                                                    \
    F(GUEST_BNDCFGS, 0x2812, 64, rw)                                                                                   \
    F(HOST_PAT, 0x2c00, 64, rw)                                                                                        \
    F(HOST_EFER, 0x2c02, 64, rw)                                                                                       \
    F(HOST_PERF_GLOBAL_CTRL, 0x2c04, 64, rw)                                                                           \
    F(PIN_CONTROLS, 0x4000, 32, rw)                                                                                    \
    F(PROC_CONTROLS, 0x4002, 32, rw)                                                                                   \
    F(EXCEPTION_BITMAP, 0x4004, 32, rw)                                                                                \
    F(PF_ERROR_MASK, 0x4006, 32, rw)                                                                                   \
    F(PF_ERROR_MATCH, 0x4008, 32, rw)                                                                                  \
    F(CR3_TARGET_COUNT, 0x400a, 32, rw)                                                                                \
    F(EXIT_CONTROLS, 0x400c, 32, rw)                                                                                   \
    F(EXIT_MSR_STORE_COUNT, 0x400e, 32, rw)                                                                            \
    F(EXIT_MSR_LOAD_COUNT, 0x4010, 32, rw)                                                                             \
    F(ENTRY_CONTROLS, 0x4012, 32, rw)                                                                                  \
    F(ENTRY_MSR_LOAD_COUNT, 0x4014, 32, rw)                                                                            \
    F(ENTRY_INTERRUPTION_INFO, 0x4016, 32, rw)                                                                         \
    F(ENTRY_EXCEPTION_ERROR_CODE, 0x4018, 32, rw)                                                                      \
    F(ENTRY_INSTRUCTION_LENGTH, 0x401a, 32, rw)                                                                        \
    F(TPR_THRESHOLD, 0x401c, 32, rw)                                                                                   \
    F(PROC2_CONTROLS, 0x401e, 32, rw)                                                                                  \
    F(PLE_GAP, 0x4020, 32, rw)                                                                                         \
    F(PLE_WINDOW, 0x4022, 32, rw)                                                                                      \
    F(INSTRUCTION_ERROR, 0x4400, 32, ro)                                                                               \
    F(EXIT_REASON, 0x4402, 32, ro)                                                                                     \
    F(EXIT_INTERRUPTION_INFO, 0x4404, 32, ro)                                                                          \
    F(EXIT_INTERRUPTION_ERROR_CODE, 0x4406, 32, ro)                                                                    \
    F(IDT_VECTORING_INFO, 0x4408, 32, ro)                                                                              \
    F(IDT_VECTORING_ERROR_CODE, 0x440a, 32, ro)                                                                        \
    F(EXIT_INSTRUCTION_LENGTH, 0x440c, 32, ro)                                                                         \
    F(EXIT_INSTRUCTION_INFO, 0x440e, 32, ro)                                                                           \
    F(GUEST_ES_LIMIT, 0x4800, 32, rw)                                                                                  \
    F(GUEST_CS_LIMIT, 0x4802, 32, rw)                                                                                  \
    F(GUEST_SS_LIMIT, 0x4804, 32, rw)                                                                                  \
    F(GUEST_DS_LIMIT, 0x4806, 32, rw)                                                                                  \
    F(GUEST_FS_LIMIT, 0x4808, 32, rw)                                                                                  \
    F(GUEST_GS_LIMIT, 0x480a, 32, rw)                                                                                  \
    F(GUEST_LDTR_LIMIT, 0x480c, 32, rw)                                                                                \
    F(GUEST_TR_LIMIT, 0x480e, 32, rw)                                                                                  \
    F(GUEST_GDTR_LIMIT, 0x4810, 32, rw)                                                                                \
    F(GUEST_IDTR_LIMIT, 0x4812, 32, rw)                                                                                \
    F(GUEST_ES_ACCESS, 0x4814, 32, rw)                                                                                 \
    F(GUEST_CS_ACCESS, 0x4816, 32, rw)                                                                                 \
    F(GUEST_SS_ACCESS, 0x4818, 32, rw)                                                                                 \
    F(GUEST_DS_ACCESS, 0x481a, 32, rw)                                                                                 \
    F(GUEST_FS_ACCESS, 0x481c, 32, rw)                                                                                 \
    F(GUEST_GS_ACCESS, 0x481e, 32, rw)                                                                                 \
    F(GUEST_LDTR_ACCESS, 0x4820, 32, rw)                                                                               \
    F(GUEST_TR_ACCESS, 0x4822, 32, rw)                                                                                 \
    F(GUEST_INTERRUPTIBILITY, 0x4824, 32, rw)                                                                          \
    F(GUEST_ACTIVITY_STATE, 0x4826, 32, rw)                                                                            \
    F(GUEST_SMBASE, 0x4828, 32, rw)                                                                                    \
    F(GUEST_SYSENTER_CS, 0x482a, 32, rw)                                                                               \
    F(PREEMPTION_TIMER_VALUE, 0x482e, 32, rw)                                                                          \
    F(HOST_SYSENTER_CS, 0x4c00, 32, rw)                                                                                \
    F(CR0_MASK, 0x6000, nat, rw)                                                                                       \
    F(CR4_MASK, 0x6002, nat, rw)                                                                                       \
    F(CR0_SHADOW, 0x6004, nat, rw)                                                                                     \
    F(CR4_SHADOW, 0x6006, nat, rw)                                                                                     \
    F(CR3_TARGET_0, 0x6008, nat, rw)                                                                                   \
    F(CR3_TARGET_1, 0x600a, nat, rw)                                                                                   \
    F(CR3_TARGET_2, 0x600c, nat, rw)                                                                                   \
    F(CR3_TARGET_3, 0x600e, nat, rw)                                                                                   \
    F(EXIT_QUALIFICATION, 0x6400, nat, ro)                                                                             \
    F(IO_RCX, 0x6402, nat, ro)                                                                                         \
    F(IO_RSI, 0x6404, nat, ro)                                                                                         \
    F(IO_RDI, 0x6406, nat, ro)                                                                                         \
    F(IO_RIP, 0x6408, nat, ro)                                                                                         \
    F(GUEST_LINEAR_ADDRESS, 0x640a, nat, ro)                                                                           \
    F(GUEST_CR0, 0x6800, nat, rw)                                                                                      \
    F(GUEST_CR3, 0x6802, nat, rw)                                                                                      \
    F(GUEST_CR4, 0x6804, nat, rw)                                                                                      \
    F(GUEST_ES_BASE, 0x6806, nat, rw)                                                                                  \
    F(GUEST_CS_BASE, 0x6808, nat, rw)                                                                                  \
    F(GUEST_SS_BASE, 0x680a, nat, rw)                                                                                  \
    F(GUEST_DS_BASE, 0x680c, nat, rw)                                                                                  \
    F(GUEST_FS_BASE, 0x680e, nat, rw)                                                                                  \
    F(GUEST_GS_BASE, 0x6810, nat, rw)                                                                                  \
    F(GUEST_LDTR_BASE, 0x6812, nat, rw)                                                                                \
    F(GUEST_TR_BASE, 0x6814, nat, rw)                                                                                  \
    F(GUEST_GDTR_BASE, 0x6816, nat, rw)                                                                                \
    F(GUEST_IDTR_BASE, 0x6818, nat, rw)                                                                                \
    F(GUEST_DR7, 0x681a, nat, rw)                                                                                      \
    F(GUEST_RSP, 0x681c, nat, rw)                                                                                      \
    F(GUEST_RIP, 0x681e, nat, rw)                                                                                      \
    F(GUEST_RFLAGS, 0x6820, nat, rw)                                                                                   \
    F(GUEST_PENDING_DEBUG, 0x6822, nat, rw)                                                                            \
    F(GUEST_SYSENTER_ESP, 0x6824, nat, rw)                                                                             \
    F(GUEST_SYSENTER_EIP, 0x6826, nat, rw)                                                                             \
    F(HOST_CR0, 0x6c00, nat, rw)                                                                                       \
    F(HOST_CR3, 0x6c02, nat, rw)                                                                                       \
    F(HOST_CR4, 0x6c04, nat, rw)                                                                                       \
    F(HOST_FS_BASE, 0x6c06, nat, rw)                                                                                   \
    F(HOST_GS_BASE, 0x6c08, nat, rw)                                                                                   \
    F(HOST_TR_BASE, 0x6c0a, nat, rw)                                                                                   \
    F(HOST_GDTR_BASE, 0x6c0c, nat, rw)                                                                                 \
    F(HOST_IDTR_BASE, 0x6c0e, nat, rw)                                                                                 \
    F(HOST_SYSENTER_ESP, 0x6c10, nat, rw)                                                                              \
    F(HOST_SYSENTER_EIP, 0x6c12, nat, rw)                                                                              \
    F(HOST_RSP, 0x6c14, nat, rw)                                                                                       \
    F(HOST_RIP, 0x6c16, nat, rw)

struct vmcs_16_rw {
    u32 encoding;
};
struct vmcs_32_rw {
    u32 encoding;
};
struct vmcs_32_ro {
    u32 encoding;
};
struct vmcs_64_rw {
    u32 encoding;
};
struct vmcs_64_ro {
    u32 encoding;
};
struct vmcs_nat_rw {
    u32 encoding;
};
struct vmcs_nat_ro {
    u32 encoding;
};

/* Encoding bits 14:13 are the width: 0 16-bit, 1 64-bit, 2 32-bit, 3 natural. SDM 3C 24.11.2. Bits 11:10 = 1:
 * read-only. */
#define VMCS_WIDTH_CODE_16  0
#define VMCS_WIDTH_CODE_64  1
#define VMCS_WIDTH_CODE_32  2
#define VMCS_WIDTH_CODE_nat 3
#define VMCS_ACCESS_CODE_rw 0
#define VMCS_ACCESS_CODE_ro 1

#define VMCS_DEFINE_FIELD(name, code, width, access)                                                                   \
    _Static_assert(((code) >> 13) == VMCS_WIDTH_CODE_##width, #name ": width does not match the encoding");            \
    _Static_assert((((code) >> 10 & 3) == 1) == VMCS_ACCESS_CODE_##access, #name ": access does not match");           \
    enum { ENCODING_##name = (code) };                                                                                 \
    static const struct vmcs_##width##_##access name = {ENCODING_##name};

VMCS_FIELDS(VMCS_DEFINE_FIELD)

#endif
