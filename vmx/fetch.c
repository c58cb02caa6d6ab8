/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See fetch.h. On a CPU that needs it (errata_page_size_change) guests run code in pages of 4 KiB only: large pages are
 * not executable, and the first fetch from one splits it, for good. So a guest causes as many of these exits as its
 * memory has large pages, and no more. SDM 3C 28.2.3.2 "EPT Violations", 28.3.3.4 "Guidelines for Use of the INVEPT
 * Instruction".
 */
#include "vmx/fetch.h"
#include "kernel/sched/sched.h"
#include "vmx/ept.h"
#include "vmx/event.h"
#include "vmx/tlb.h"

bool vmx_fetch_violation(struct vmx_vcpu *v, u64 qualification, enum outcome *outcome)
{
    struct vm *vm = v->base.vm;
    gpa_t address = gpa(vmcs_read(GUEST_PHYSICAL_ADDRESS));

    vm_lock(vm);
    enum ept_fetch fetch = ept_allow_fetch(vm->ept_root, vm->ept_apic_root, address);
    vm_unlock(vm);
    switch (fetch) {
    case EPT_FETCH_UNMAPPED:
        return false;
    case EPT_FETCH_NO_MEMORY:
        vm_stop(vm, VM_STOP_NO_MEMORY, "what=\"no frame to split a large page of code\" rip=0x%lx address=0x%lx",
                vmcs_read(GUEST_RIP), address.raw);
        *outcome = OUTCOME_STOP;
        return true;
    case EPT_FETCH_SPLIT: /* the size of a page has changed: each CPU that runs the VM must hear of it */
        vmx_invalidate_ept_everywhere(vm);
        for (u32 i = 0; i < vm->spec.cpus; i++)
            sched_notify(vm->vcpus[i], VCPU_REQUEST_RESCHEDULE);
        break;
    default: /* another vCPU has been here; the violation itself has flushed the old translation: SDM 3C 28.3.3.1 */
        break;
    }
    *outcome = vmx_event_run_again(v, qualification);
    return true;
}
