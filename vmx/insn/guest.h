/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A running guest's linear addresses: translation through its own page tables, and copies that split at pages. Current
 * VMCS.
 */
#ifndef ROOTLET_VMX_INSN_GUEST_H
#define ROOTLET_VMX_INSN_GUEST_H

#include "vmx/event.h"
#include "vmx/insn/decode.h"
#include "vmx/insn/gva.h"
#include "vmx/vcpu.h"

enum guest_access {
    GUEST_ACCESS_OK,
    GUEST_ACCESS_FAULT, /* an exception has been queued for the guest, or an EPT violation for its hypervisor */
    GUEST_ACCESS_STOP   /* the guest's page tables cannot be walked */
};

/* What gva_translate() needs to translate as the guest would now; entries of its page tables are read and flagged. */
void guest_fill_context(struct vmx_vcpu *v, struct gva_context *context);
/* Translates; queues #PF (with CR2) on a fault, #GP for a non-canonical address. *out is in the VM's memory, also if
 * the address is one of an inner guest with EPT; what the walk says of entries is then in the inner guest's. */
enum guest_access guest_translate(struct vmx_vcpu *v, u64 linear, enum gva_access access, gpa_t *out);

/* An operand that has passed its checks: to access it raises no fault any more. */
struct guest_operand {
    u64 linear;
    gpa_t where[2]; /* of the first byte, and of the second page */
    u8 bytes;
    u8 first; /* how many of them are in the first page */
};
/*
 * The operand of up to 32 bytes at segment:offset, as the guest's own access would be checked: limit and type of the
 * segment, or a canonical address in 64-bit mode (#SS for the stack's segment, else #GP), pages (#PF), alignment (#AC).
 * `offset` has wrapped at the address size.
 */
enum guest_access guest_operand(struct vmx_vcpu *v, enum decode_segment segment, u64 offset, u8 bytes,
                                enum gva_access access, struct guest_operand *out);
/* The linear address of segment:offset. In 64-bit mode only FS and GS have a base. */
u64 guest_linear(const struct vmx_vcpu *v, enum decode_segment segment, u64 offset);
/* Precondition: at most 8 bytes. */
u64 guest_operand_read(struct vmx_vcpu *v, const struct guest_operand *operand);
void guest_operand_write(struct vmx_vcpu *v, const struct guest_operand *operand, u64 value);
/* The VMCS field of a segment's base, limit and access rights, by enum decode_segment. */
extern const struct vmcs_nat_rw guest_segment_bases[6];

/*
 * Reads or writes up to 8 bytes at a linear address; memory, devices and what nothing answers alike. Crosses pages.
 */
enum guest_access guest_read(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 *value);
enum guest_access guest_write(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 value);
/*
 * Reads 1, 2, 4 or 8 bytes that do not cross a page, out of memory, as the kernel of the guest could; false if they
 * cannot be read so. The guest notices nothing: no exception, no accessed flag, no device.
 */
bool guest_peek(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 *value);
/* guest_physical.c: the same at a guest-physical address, of 1, 2, 4 or 8 bytes that do not cross a page; a read has
 * zeros above them. */
u64 guest_physical_read(struct vmx_vcpu *v, gpa_t address, u8 bytes);
void guest_physical_write(struct vmx_vcpu *v, gpa_t address, u8 bytes, u64 value);
/* RAM at a guest-physical address, good to the end of its page; NULL if something else answers there, or if the memory
 * is layered. */
COLD u8 *guest_physical_ram(struct vmx_vcpu *v, gpa_t address);
/* Likewise one byte to write to at once, also in layered memory. */
COLD u8 *guest_physical_open(struct vmx_vcpu *v, gpa_t address);
/* True if neither memory nor a device is there. The access of the instruction at the guest's RIP is then counted, and
 * the first one kept, for the statistics. */
bool guest_physical_is_stray(struct vmx_vcpu *v, gpa_t address, u8 bytes);

/*
 * IA32_EFER without a look into the VMCS: writes exit, and LMA is LME with paging (SDM 3A 9.8.5 "Initializing IA-32e
 * Mode"). The field is none of those that a hypervisor below us can let us read without an exit of its own, in
 * KVM's shadow VMCS; neither are the bases of segments.
 */
static inline u64 guest_efer(const struct vmx_vcpu *v)
{
    bool long_mode = v->efer & EFER_LME && vmcs_read(GUEST_CR0) & CR0_PG;
    return v->efer | (long_mode ? EFER_LMA : 0);
}

/* 64-bit mode. CS.L alone does not say so: outside IA-32e mode the bit has no meaning. */
static inline bool guest_is_code64(const struct vmx_vcpu *v)
{
    return (guest_efer(v) & EFER_LMA) && (vmcs_read(GUEST_CS_ACCESS) & SEGMENT_LONG);
}

/*
 * The linear address of CS:RIP. In 64-bit mode CS has no base, whatever its descriptor and so the VMCS say (SDM
 * 3A 3.2.4 "Segmentation in IA-32e Mode").
 */
static inline u64 guest_linear_rip(const struct vmx_vcpu *v)
{
    u64 rip = vmcs_read(GUEST_RIP);
    return guest_is_code64(v) ? rip : (u32)(vmcs_read(GUEST_CS_BASE) + rip);
}

#define GUEST_CODE_BYTES 15u /* the longest instruction */

/* What stands at CS:RIP. */
struct guest_code {
    gpa_t where; /* the first byte */
    struct gva_path path;
    u8 bytes[GUEST_CODE_BYTES];
    u8 count; /* of bytes: fewer if the following page cannot be fetched */
};
enum guest_access guest_fetch(struct vmx_vcpu *v, struct guest_code *out);

#endif
