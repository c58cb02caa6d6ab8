/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The current VMCS as an array of fields, read and written through the real vmx/vmcs.h. VMREAD of a field that nobody
 * set yields 0; VMWRITE keeps as many bits as the field has, and aborts on a read-only field or an unknown encoding.
 */
#ifndef ROOTLET_TEST_FAKE_VMCS_H
#define ROOTLET_TEST_FAKE_VMCS_H

#include "vmx/vmcs.h"

void fake_vmcs_reset(void);
/* Sets any field, exit information too: what the CPU does at a VM exit. */
void fake_vmcs_set(u32 encoding, u64 value);
/* The CPU has no such field: vmcs_try_read() fails and the VM-instruction error becomes 12; until fake_vmcs_reset(). */
void fake_vmcs_remove(u32 encoding);
/* VMREADs that failed since fake_vmcs_reset. */
u32 fake_vmcs_failed_count(void);
/* What VMPTRST stores. */
void fake_vmcs_set_current(u64 pointer);
/* VMWRITEs since fake_vmcs_reset. */
u32 fake_vmcs_write_count(void);
/* VMREADs and VMWRITEs since fake_vmcs_reset that would exit to KVM, if it had us as its guest. */
u32 fake_vmcs_trapped_count(void);
/* Copies of all fields, to see whether anything changed. */
struct fake_vmcs_copy {
    u64 values[160];
};
void fake_vmcs_save(struct fake_vmcs_copy *copy);
/* A second VMCS becomes current, in which exit information can be written, too (IA32_VMX_MISC[29]); or the first one.
 */
void fake_vmcs_load_shadow(bool load);

#define VMCS_SET(field, value) fake_vmcs_set((field).encoding, (value))

#endif
