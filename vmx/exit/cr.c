/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control and debug registers, and XCR0. The guest owns the bits that cannot hurt; the others exit, are checked as the
 * CPU checks them, and are shown to the guest as it wrote them. SDM 2B "MOV - Move to/from Control Registers",
 * 3C 25.3, 25.6.
 */
#include "vmx/exit/cr.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/xsave.h"
#include "kernel/trace/trace.h"
#include "vmx/ept.h"
#include "vmx/event.h"
#include "vmx/exit/cpuid.h"
#include "vmx/insn/guest.h"
#include "vmx/nested/nested.h"
#include "vmx/points.h"
#include "vmx/report/debug.h"
#include "vmx/tlb.h"

#define CR0_HELD (CR0_NE | CR0_ET | CR0_NW | CR0_CD) /* what the guest only believes to own */

/* Address bits that the CPU does not have: reserved in CR3 and in PDPTEs. SDM 3A 4.1.4. */
static u64 reserved_address_bits(void)
{
    return ~((1ull << (cpu_cpuid(0x80000008, 0).eax & 0xff)) - 1);
}

/* They are read as data, whatever an EPT with accessed and dirty flags makes of tables. SDM 3C 28.2.3.2 */
static bool read_entries(const struct vmx_vcpu *v, u64 address, u64 entries[4])
{
    if (UNLIKELY(v->inner_physical) && !v->inner_physical(v, address, EPT_READ, true, &address))
        return false;
    return guest_memory_read(&v->base.vm->memory, gpa(address), entries, 4 * sizeof entries[0]) == STATUS_OK;
}

/* SDM 3A 4.4.1 "PDPTE Registers": four entries, loaded with CR3 in PAE paging; reserved bits in a present one are #GP.
 */
bool vmx_read_pdptes(const struct vmx_vcpu *v, u64 cr3, u64 pdpte[4])
{
    u64 entries[4];
    u64 reserved = reserved_address_bits() | 0x1e6;

    if (!read_entries(v, cr3 & 0xffffffe0, entries))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if ((entries[i] & 1) && (entries[i] & reserved))
            return false;
    for (unsigned i = 0; i < 4; i++)
        pdpte[i] = entries[i];
    return true;
}

static bool load_pdptes(const struct vmx_vcpu *v, u64 cr3)
{
    u64 pdpte[4];

    if (!vmx_read_pdptes(v, cr3, pdpte))
        return false;
    vmcs_write(GUEST_PDPTE0, pdpte[0]);
    vmcs_write(GUEST_PDPTE1, pdpte[1]);
    vmcs_write(GUEST_PDPTE2, pdpte[2]);
    vmcs_write(GUEST_PDPTE3, pdpte[3]);
    return true;
}

#define ACCESS_TYPE       0xfu
#define ACCESS_TSS16_BUSY 3u /* IA-32e mode cannot begin with one: SDM 3A 9.8.5.4 */

static bool enable_paging(struct vmx_vcpu *v)
{
    bool pae = vmcs_read(GUEST_CR4) & CR4_PAE;

    if (v->efer & EFER_LME) {
        if (!pae || vmcs_read(GUEST_CS_ACCESS) & SEGMENT_LONG ||
            (vmcs_read(GUEST_TR_ACCESS) & ACCESS_TYPE) == ACCESS_TSS16_BUSY)
            return false;
        vmcs_write(GUEST_EFER, v->efer | EFER_LMA);
        vmcs_write(ENTRY_CONTROLS, vmcs_read(ENTRY_CONTROLS) | ENTRY_IA32E_GUEST);
        return true;
    }
    return !pae || load_pdptes(v, vmcs_read(GUEST_CR3));
}

static bool disable_paging(const struct vmx_vcpu *v)
{
    if (vmcs_read(GUEST_CR4) & CR4_PCIDE)
        return false;
    if (!(v->efer & EFER_LME))
        return true;
    if (vmcs_read(GUEST_CS_ACCESS) & SEGMENT_LONG)
        return false;
    vmcs_write(GUEST_EFER, v->efer);
    vmcs_write(ENTRY_CONTROLS, vmcs_read(ENTRY_CONTROLS) & ~ENTRY_IA32E_GUEST);
    return true;
}

/* SDM 3A 4.4.1: PAE paging takes the PDPTEs anew when MOV to CR0 changes CD or NW, as when it changes PG. */
static bool reload_pdptes(const struct vmx_vcpu *v, u64 value)
{
    bool changes = (value ^ vmcs_read(CR0_SHADOW)) & (CR0_CD | CR0_NW);

    if (!changes || !(vmcs_read(GUEST_CR4) & CR4_PAE) || v->efer & EFER_LME)
        return true;
    return load_pdptes(v, vmcs_read(GUEST_CR3));
}

static enum outcome write_cr0(struct vmx_vcpu *v, u64 value)
{
    u64 old = vmcs_read(GUEST_CR0);

    if (value >> 32)
        return vmx_inject_gp(v);
    value &= CR0_DEFINED;
    if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        return vmx_inject_gp(v);
    if (UNLIKELY(nested_is_on(v)) && !nested_allows_cr0(v, value))
        return vmx_inject_gp(v);
    if ((value & ~old & CR0_PG) && !enable_paging(v))
        return vmx_inject_gp(v);
    if ((old & ~value & CR0_PG) && !disable_paging(v))
        return vmx_inject_gp(v);
    if ((old & value & CR0_PG) && !reload_pdptes(v, value))
        return vmx_inject_gp(v);
    vmcs_write(GUEST_CR0, (value & ~CR0_HELD) | (old & CR0_HELD));
    vmcs_write(CR0_SHADOW, value | CR0_ET);
    if ((value ^ old) & (CR0_PG | CR0_WP))
        vmx_vcpu_flush_tlb(v);
    return OUTCOME_SKIP;
}

/* Exits only on CPUs that insist on CR3-load exiting. Bit 63 asks not to flush: SDM 3A 4.10.4.1. */
static enum outcome write_cr3(struct vmx_vcpu *v, u64 value)
{
    u64 cr4 = vmcs_read(GUEST_CR4);
    bool long_mode = guest_efer(v) & EFER_LMA;

    if (long_mode && (cr4 & CR4_PCIDE))
        value &= ~BIT(63);
    if (long_mode && (value & reserved_address_bits()))
        return vmx_inject_gp(v);
    if ((vmcs_read(GUEST_CR0) & CR0_PG) && (cr4 & CR4_PAE) && !long_mode && !load_pdptes(v, value))
        return vmx_inject_gp(v);
    vmcs_write(GUEST_CR3, value);
    vmx_vcpu_flush_tlb(v);
    return OUTCOME_SKIP;
}

/*
 * Exits for bits that the guest may not have, which are reserved by the CPUID that it sees, for OSXSAVE, which its
 * CPUID shows, and for MCE, which is the host's: a machine check must never find it clear. PAE cannot change with it:
 * what is not ours the guest writes without an exit, and an exit finds the old value.
 */
static enum outcome write_cr4(struct vmx_vcpu *v, u64 value)
{
    u64 old = vmcs_read(GUEST_CR4);
    u64 efer = guest_efer(v);
    bool paging = vmcs_read(GUEST_CR0) & CR0_PG;

    if (value & ~(vmx_features.guest_cr4_allowed | (v->nested ? CR4_VMXE : 0)))
        return vmx_inject_gp(v);
    if (UNLIKELY(nested_is_on(v)) && !nested_allows_cr4(v, value))
        return vmx_inject_gp(v);
    if ((efer & EFER_LMA) && !(value & CR4_PAE))
        return vmx_inject_gp(v);
    if ((value & ~old & CR4_PCIDE) && (!(efer & EFER_LMA) || vmcs_read(GUEST_CR3) & 0xfff))
        return vmx_inject_gp(v);
    if (paging && (value & CR4_PAE) && !(efer & EFER_LMA) &&
        ((value ^ old) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && !load_pdptes(v, vmcs_read(GUEST_CR3)))
        return vmx_inject_gp(v);
    vmcs_write(GUEST_CR4, value | vmx_features.caps.cr4_fixed0);
    vmcs_write(CR4_SHADOW, value);
    vmx_cpuid_set_osxsave(v, value & CR4_OSXSAVE);
    if ((value ^ old) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
        vmx_vcpu_flush_tlb(v);
    return OUTCOME_SKIP;
}

/* SDM 3A 10.8.6.1 "Interaction of Task Priorities between CR8 and APIC" */
static enum outcome write_cr8(struct vmx_vcpu *v, u64 value)
{
    if (value & ~0xfull)
        return vmx_inject_gp(v);
    vm_apic_write_cr8(&v->base, value);
    return OUTCOME_SKIP;
}

enum outcome vmx_cr_write(struct vmx_vcpu *v, unsigned cr, u64 value)
{
    switch (cr) {
    case 0:
        return write_cr0(v, value);
    case 3:
        return write_cr3(v, value);
    case 4:
        return write_cr4(v, value);
    default:
        return write_cr8(v, value);
    }
}

/* SDM 3C 27.2.1 "Basic VM-Exit Information", table "Exit Qualification for Control-Register Accesses". */
enum outcome vmx_cr_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    unsigned cr = qualification & 0xf;
    unsigned gpr = (unsigned)bits_field(qualification, 11, 8);
    u64 mask = guest_is_code64(v) ? ~0ull : UINT32_MAX;

    record->detail = qualification;
    switch (bits_field(qualification, 5, 4)) {
    case 0:
        return vmx_cr_write(v, cr, vmx_vcpu_gpr(v, gpr) & mask);
    case 1:
        vmx_vcpu_set_gpr(v, gpr, cr == 8 ? v->base.apic.ops->read_cr8(v->base.apic.device) : vmcs_read(GUEST_CR3));
        return OUTCOME_SKIP;
    case 2: /* CLTS */
        vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) & ~CR0_TS);
        return OUTCOME_SKIP;
    default: { /* LMSW: PE can be set but not cleared */
        u64 cr0 = (vmcs_read(GUEST_CR0) & ~CR0_HELD) | (vmcs_read(CR0_SHADOW) & CR0_HELD);
        u64 source = bits_field(qualification, 31, 16);
        return write_cr0(v, (cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (source & 0xf));
    }
    }
}

/* A breakpoint, or DR7.GD, by which MOV DR itself raises #DB. */
static bool is_to_enable(const struct vmx_vcpu *v, u64 qualification)
{
    return (qualification & 0x15) == 5 && /* to DR7, or DR5, which is the same */
           vmx_vcpu_gpr(v, (unsigned)bits_field(qualification, 11, 8)) & (POINTS_DR7_ENABLES | POINTS_DR7_GD);
}

/*
 * Debug registers are plain memory until the guest enables a breakpoint: then it has the CPU's, which are switched with
 * this vCPU, and its accesses no longer exit; the instruction runs again. In one of a guest hypervisor's two VMCSs they
 * may still exit when it was in the other one that the guest has enabled it, or lost a debugger. SDM 3C 25.1.3
 * "Instructions That Cause VM Exits Conditionally".
 */
enum outcome vmx_dr_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    u64 dr7 = vmcs_read(GUEST_DR7);
    u64 before = dr7;

    record->detail = qualification;
    if (UNLIKELY(v->debug) && v->debug->owns_registers)
        return vmx_debug_mov_dr(v);
    if (!v->debug_used && !is_to_enable(v, qualification)) {
        enum outcome outcome = vmx_points_move(v, qualification, &(struct points_bank){v->dr, &v->dr6, &dr7});
        if (dr7 != before)
            vmcs_write(GUEST_DR7, dr7);
        return outcome;
    }
    if (!v->debug_used)
        vmx_points_begin(v);
    vmcs_write(PROC_CONTROLS, vmcs_read(PROC_CONTROLS) & ~PROC_MOV_DR_EXITING);
    return OUTCOME_RESUME;
}

/* SDM 2D "XSETBV": CPL and OSXSAVE were checked before the exit. */
enum outcome vmx_xsetbv_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 value = (v->gpr[GPR_RDX] << 32) | (u32)v->gpr[GPR_RAX];

    (void)record;
    if ((u32)v->gpr[GPR_RCX] != 0 || !xsave_xcr0_is_valid(value))
        return vmx_inject_gp(v);
    xcr0_write(value);
    return OUTCOME_SKIP;
}
