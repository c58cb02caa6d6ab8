/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Constants of C structures and headers for boot/ and arch/x86/ assembly: becomes build/arch/x86/offsets.inc.
 */
#include "kernel/lib/offsets.h"
#include "arch/x86/msr.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/traps.h"
#include "boot/ap.h"

void offsets(void);

void offsets(void)
{
    OFFSET_VALUE(KERNEL_BASE, KERNEL_BASE);
    OFFSET_VALUE(CR0_PE_BIT, CR0_PE);
    OFFSET_VALUE(CR0_ET_BIT, CR0_ET);
    OFFSET_VALUE(CR0_PG_BIT, CR0_PG);
    OFFSET_VALUE(CR4_PAE_BIT, CR4_PAE);
    OFFSET_VALUE(EFER_LME_BIT, EFER_LME);
    OFFSET_VALUE(MSR_EFER, MSR_IA32_EFER);
    OFFSET_VALUE(MSR_GS_BASE, MSR_IA32_GS_BASE);
    OFFSET_VALUE(MSR_APIC_BASE, MSR_IA32_APIC_BASE);
    OFFSET_VALUE(MSR_X2APIC_ID, MSR_IA32_X2APIC_BASE + 2);

    OFFSET_OF(CPU_LOCAL_SELF, struct cpu_local, self);
    OFFSET_VALUE(CPU_LOCAL_TSS_IST_NMI, offsetof(struct cpu_local, tss.ist[IST_NMI - 1]));
    OFFSET_VALUE(BOOT_STACK_TOP, offsetof(struct boot_stacks, stack) + CPU_STACK_BYTES);
    OFFSET_VALUE(NMI_SLICE, IST_NMI_SLICE);

    OFFSET_OF(FRAME_RIP, struct trap_frame, rip);
    OFFSET_OF(FRAME_RSP, struct trap_frame, rsp);

    OFFSET_OF(AP_PARAMS_CR3, struct ap_params, cr3);
    OFFSET_OF(AP_PARAMS_BOOT_CR3, struct ap_params, boot_cr3);
    OFFSET_OF(AP_PARAMS_EFER, struct ap_params, efer);
    OFFSET_OF(AP_PARAMS_STACK_TOP, struct ap_params, stack_top);
    OFFSET_OF(AP_PARAMS_TICKET, struct ap_params, ticket);
    OFFSET_OF(AP_PARAMS_CPU, struct ap_params, cpu);
    OFFSET_OF(AP_PARAMS_ENTRY, struct ap_params, entry);
    OFFSET_VALUE(AP_PARAMS_BYTES, sizeof(struct ap_params));
}
