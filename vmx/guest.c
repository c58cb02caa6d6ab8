/*
 * Access to a guest's linear addresses on its behalf, with the checks and faults that its own access would meet.
 * SDM 3A 4 "Paging". Runs between exit and entry on the vCPU's CPU; takes the VM lock only for devices.
 */
#include "vmx/guest.h"
#include "arch/x86/cpu.h"
#include "vmx/event.h"

/* Page-table entries outside RAM read as everything outside RAM does: all ones. */
static bool read_entry(void *context, gpa_t address, u8 bytes, u64 *value)
{
    struct vmx_vcpu *v = context;

    *value = 0;
    if (guest_memory_read(&v->base.vm->memory, address, value, bytes) != STATUS_OK)
        *value = bits_mask_of_bytes(bytes);
    return true;
}

static void fill_context(struct vmx_vcpu *v, struct gva_context *context)
{
    *context = (struct gva_context){
        .cr0 = vmcs_read(GUEST_CR0),
        .cr3 = vmcs_read(GUEST_CR3),
        .cr4 = vmcs_read(GUEST_CR4),
        .efer = vmcs_read(GUEST_EFER),
        .rflags = vmcs_read(GUEST_RFLAGS),
        .cpl = vmcs_read(GUEST_SS_ACCESS) >> 5 & 3,
        .physical_bits = (u8)cpu_cpuid(0x80000008, 0).eax,
        .gigabyte_pages = cpu_cpuid(0x80000001, 0).edx & BIT(26),
        .context = v,
        .read_entry = read_entry,
    };
    if ((context->cr0 & CR0_PG) && (context->cr4 & CR4_PAE) && !(context->efer & EFER_LMA)) {
        context->pdpte[0] = vmcs_read(GUEST_PDPTE0);
        context->pdpte[1] = vmcs_read(GUEST_PDPTE1);
        context->pdpte[2] = vmcs_read(GUEST_PDPTE2);
        context->pdpte[3] = vmcs_read(GUEST_PDPTE3);
    }
}

enum guest_access guest_translate(struct vmx_vcpu *v, u64 linear, enum gva_access access, gpa_t *out)
{
    struct gva_context context;
    u32 error = 0;

    fill_context(v, &context);
    if ((context.efer & EFER_LMA) && !gva_is_canonical(linear, context.cr4)) {
        vmx_inject_exception(v, VECTOR_GP, 0);
        return GUEST_ACCESS_FAULT;
    }
    switch (gva_translate(&context, linear, access, out, &error)) {
    case GVA_OK:
        return GUEST_ACCESS_OK;
    case GVA_FAULT:
        cr2_write(linear);
        vmx_inject_exception(v, VECTOR_PF, error);
        return GUEST_ACCESS_FAULT;
    default:
        return GUEST_ACCESS_STOP;
    }
}

/* Each vCPU finds its own local APIC where its IA32_APIC_BASE says, in xAPIC mode (bits 11:10 are 10b). */
static bool is_apic_page(const struct vmx_vcpu *v, gpa_t address)
{
    u64 base = *v->base.apic.base;
    return ((address.raw ^ base) & ~(FRAME_BYTES - 1)) == 0 && bits_field(base, 11, 10) == 2;
}

static void read_physical(struct vmx_vcpu *v, gpa_t address, u8 bytes, u64 *value)
{
    *value = 0;
    if (guest_memory_read(&v->base.vm->memory, address, value, bytes) == STATUS_OK)
        return;
    if (is_apic_page(v, address))
        *value = vm_apic_read(&v->base, address.raw & (FRAME_BYTES - 1), bytes);
    else
        *value = vm_memory_read(&v->base, address, bytes);
}

static void write_physical(struct vmx_vcpu *v, gpa_t address, u8 bytes, u64 value)
{
    const struct guest_region *region = guest_memory_find(&v->base.vm->memory, address);

    if (region && region->kind == GUEST_REGION_ROM)
        return;
    if (guest_memory_write(&v->base.vm->memory, address, &value, bytes) == STATUS_OK)
        return;
    if (is_apic_page(v, address))
        vm_apic_write(&v->base, address.raw & (FRAME_BYTES - 1), bytes, value);
    else
        vm_memory_write(&v->base, address, bytes, value);
}

/* An access inside one page is one access; one that crosses is done byte by byte, each byte where its page is. */
static bool fits_page(u64 linear, u8 bytes)
{
    return (linear & (FRAME_BYTES - 1)) + bytes <= FRAME_BYTES;
}

static bool is_power(u8 bytes)
{
    return (bytes & (bytes - 1)) == 0;
}

enum guest_access guest_read(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 *value)
{
    gpa_t where[2];
    enum guest_access access = guest_translate(v, linear, GVA_READ, &where[0]);

    if (access != GUEST_ACCESS_OK)
        return access;
    if (fits_page(linear, bytes) && is_power(bytes)) {
        read_physical(v, where[0], bytes, value);
        return GUEST_ACCESS_OK;
    }
    u64 boundary = bits_align_down(linear + bytes - 1, FRAME_BYTES);
    access = guest_translate(v, boundary, GVA_READ, &where[1]);
    if (access != GUEST_ACCESS_OK)
        return access;
    *value = 0;
    for (u8 i = 0; i < bytes; i++) {
        u64 byte;
        u64 at = linear + i < boundary ? where[0].raw + i : where[1].raw + (linear + i - boundary);
        read_physical(v, gpa(at), 1, &byte);
        *value |= byte << 8 * i;
    }
    return GUEST_ACCESS_OK;
}

enum guest_access guest_write(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 value)
{
    gpa_t where[2];
    enum guest_access access = guest_translate(v, linear, GVA_WRITE, &where[0]);

    if (access != GUEST_ACCESS_OK)
        return access;
    if (fits_page(linear, bytes) && is_power(bytes)) {
        write_physical(v, where[0], bytes, value);
        return GUEST_ACCESS_OK;
    }
    u64 boundary = bits_align_down(linear + bytes - 1, FRAME_BYTES);
    access = guest_translate(v, boundary, GVA_WRITE, &where[1]);
    if (access != GUEST_ACCESS_OK)
        return access;
    for (u8 i = 0; i < bytes; i++) {
        u64 at = linear + i < boundary ? where[0].raw + i : where[1].raw + (linear + i - boundary);
        write_physical(v, gpa(at), 1, value >> 8 * i & 0xff);
    }
    return GUEST_ACCESS_OK;
}

enum guest_access guest_fetch(struct vmx_vcpu *v, u8 *to, u8 bytes, u8 *got)
{
    u64 linear = vmcs_read(GUEST_CS_BASE) + vmcs_read(GUEST_RIP);
    u64 room;
    gpa_t where;

    if (!(vmcs_read(GUEST_CS_ACCESS) & SEGMENT_LONG))
        linear = (u32)linear;
    enum guest_access access = guest_translate(v, linear, GVA_FETCH, &where);
    if (access != GUEST_ACCESS_OK)
        return access;
    room = FRAME_BYTES - (linear & (FRAME_BYTES - 1));
    u8 first = room < bytes ? (u8)room : bytes;
    if (guest_memory_read(&v->base.vm->memory, where, to, first) != STATUS_OK)
        return GUEST_ACCESS_STOP;
    *got = first;
    if (first == bytes)
        return GUEST_ACCESS_OK;
    /* The instruction may well end before the boundary: a fault on the next page counts only if it does not. */
    struct vmx_event before = v->exception;
    u64 cr2 = cr2_read();
    if (guest_translate(v, linear + first, GVA_FETCH, &where) == GUEST_ACCESS_OK &&
        guest_memory_read(&v->base.vm->memory, where, to + first, bytes - first) == STATUS_OK) {
        *got = bytes;
        return GUEST_ACCESS_OK;
    }
    v->exception = before;
    cr2_write(cr2);
    return GUEST_ACCESS_OK;
}
