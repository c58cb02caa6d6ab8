/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * APIC virtualisation by the CPU: the guest reads and writes its local APIC in its register page, and the CPU takes
 * interrupts out of that page ("virtual-interrupt delivery"), both without an exit. All of it or nothing: a CPU that
 * lacks a part gets the model in software, as does an APIC that is disabled or moved. SDM 3C 29 "APIC Virtualization
 * and Virtual Interrupts".
 */
#ifndef ROOTLET_VMX_APICV_H
#define ROOTLET_VMX_APICV_H

#include "kernel/lib/apic.h"
#include "vmx/vcpu.h"

enum vmx_apicv_mode {
    APICV_OFF,
    APICV_XAPIC, /* "virtualize APIC accesses" */
    APICV_X2APIC /* "virtualize x2APIC mode", which excludes the former */
};

/* Pure: the mode for a value of IA32_APIC_BASE, if the CPU is to deliver. */
enum vmx_apicv_mode vmx_apicv_mode(u64 apic_base);
/* Pure: the controls with those of the mode on, those of the others off. */
u32 vmx_apicv_proc_controls(enum vmx_apicv_mode mode, u32 proc);
u32 vmx_apicv_proc2_controls(enum vmx_apicv_mode mode, u32 proc2);
u32 vmx_apicv_pin_controls(enum vmx_apicv_mode mode, u32 pin, bool posted);
/* Pure: lets the accesses that the CPU virtualises in x2APIC mode through. `bitmap` is a copy of the usual one. */
void vmx_apicv_open_bitmap(u8 *bitmap);

/*
 * Before an entry, if posted_news(), and in HLT: passes on what was requested, and puts the VMCS into another mode if
 * the APIC is in another one. Ends HLT if the CPU will deliver at once.
 */
void vmx_apicv_prepare(struct vmx_vcpu *v);

#endif
