/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the two halves of the guest share. Field encodings: SDM 3D Appendix B "Field Encoding in VMCS".
 */
#ifndef GUEST_VMXROOT_H
#define GUEST_VMXROOT_H

#include "guests/lib/types.h"

#define VMCS_GUEST_CS_SELECTOR    0x0802u
#define VMCS_ENTRY_MSR_LOAD       0x200au
#define VMCS_LINK_POINTER         0x2800u
#define VMCS_GUEST_DEBUGCTL       0x2802u
#define VMCS_PIN_CONTROLS         0x4000u
#define VMCS_PROC_CONTROLS        0x4002u
#define VMCS_EXIT_CONTROLS        0x400cu
#define VMCS_ENTRY_CONTROLS       0x4012u
#define VMCS_ENTRY_MSR_LOAD_COUNT 0x4014u
#define VMCS_INSTRUCTION_ERROR    0x4400u
#define VMCS_EXIT_REASON          0x4402u
#define VMCS_EXIT_QUALIFICATION   0x6400u
#define VMCS_HOST_CR0             0x6c00u
#define VMCS_GUEST_RFLAGS         0x6820u
#define VMCS_GUEST_RIP            0x681eu

/* Makes the current VMCS one that can be entered: an inner guest with this guest's own state. */
void vmxroot_fill(void);
void vmxroot_write(u32 encoding, u32 value);
u32 vmxroot_directory(void);
/* VMLAUNCH or VMRESUME, and the flags after it; 0: a VM exit came back. */
u32 vmxroot_enter(bool launch);

#endif
