/*
 * A running guest's linear addresses: translation through its own page tables, and copies that split at pages. Current
 * VMCS.
 */
#ifndef ROOTLET_VMX_GUEST_H
#define ROOTLET_VMX_GUEST_H

#include "vmx/gva.h"
#include "vmx/vcpu.h"

enum guest_access {
    GUEST_ACCESS_OK,
    GUEST_ACCESS_FAULT, /* an exception has been queued for the guest */
    GUEST_ACCESS_STOP   /* the guest's page tables cannot be walked */
};

/* Translates; queues #PF (with CR2) on a fault, #GP for a non-canonical address. */
enum guest_access guest_translate(struct vmx_vcpu *v, u64 linear, enum gva_access access, gpa_t *out);
/*
 * Reads or writes up to 8 bytes at a linear address; memory, devices and what nothing answers alike. Crosses pages.
 */
enum guest_access guest_read(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 *value);
enum guest_access guest_write(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 value);
/* Up to `bytes` instruction bytes at CS:RIP; *got is less if the following page cannot be fetched. */
enum guest_access guest_fetch(struct vmx_vcpu *v, u8 *to, u8 bytes, u8 *got);

#endif
