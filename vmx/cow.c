/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See cow.h. A page moves when it is copied, and other CPUs that run the VM may have the old place cached: nobody
 * writes to the new one before they have forgotten it. SDM 3C 28.2.3.2 "EPT Violations", 28.3.3.4 "Guidelines for Use
 * of the INVEPT Instruction".
 */
#include "vmx/cow.h"
#include "arch/x86/smp.h"
#include "kernel/sched/sched.h"
#include "kernel/vm/layer.h"
#include "vmx/ept.h"
#include "vmx/event.h"
#include "vmx/exit/mmio.h"
#include "vmx/tlb.h"

static struct ept_options options(void)
{
    return (struct ept_options){
        .pages_2m = vmx_features.caps.ept_vpid & EPT_CAP_2M,
        .fetch_small = vmx_features.fetch_small,
    };
}

/* Each of the VM's vCPUs that this CPU runs leaves its guest, and flushes before it enters again. */
static void ask_to_flush(const struct vm *vm, u32 cpu)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        if (vm->vcpus[i]->home_cpu == cpu)
            sched_notify(vm->vcpus[i], VCPU_REQUEST_RESCHEDULE);
}

/*
 * Waits until each other CPU that runs the VM has forgotten what it had cached when the wait began. One that waits here
 * itself counts as soon as it has; one that comes in later flushes before it enters. No lock is held.
 */
static void wait_for_others(const struct vm *vm)
{
    u32 generation = vmx_tlb_generation();

    vmx_tlb_flush_freed();
    for (u32 cpu = 0; vm->spec.cpus > 1 && cpu < smp_cpu_count(); cpu++) {
        if (cpu == cpu_id() || !sched_runs(cpu, vm) || vmx_tlb_has_flushed(cpu, generation))
            continue;
        ask_to_flush(vm, cpu);
        while (sched_runs(cpu, vm) && !vmx_tlb_has_flushed(cpu, generation)) {
            vmx_tlb_flush_freed();
            __builtin_ia32_pause();
        }
    }
}

static COLD void stop_for_memory(struct vm *vm, u64 address)
{
    vm_stop(vm, VM_STOP_NO_MEMORY, "what=\"no frame for a page that was shared and is written\" address=0x%lx",
            address);
}

/* Maps the page; false: no memory. */
static bool resolve(struct vm *vm, gpa_t address, bool write)
{
    bool moved = false, replaced = false;
    hpa_t frame;

    vm_lock(vm);
    enum status status = write ? layer_own(vm->memory.top, address.raw, &frame, &moved) : STATUS_OK;
    if (status == STATUS_OK)
        status = ept_map_layered(vm->ept_root, &vm->memory, address, options(), &replaced);
    if (replaced)
        vmx_invalidate_ept_everywhere(vm);
    vm_unlock(vm);
    if (status != STATUS_OK)
        return false;
    wait_for_others(vm); /* also for what another vCPU has just moved */
    return true;
}

bool vmx_cow_violation(struct vmx_vcpu *v, u64 qualification, enum outcome *outcome)
{
    struct vm *vm = v->base.vm;
    gpa_t address = gpa(vmcs_read(GUEST_PHYSICAL_ADDRESS));
    bool write = qualification & VIOLATION_WRITE;

    if (!vm->memory.top)
        return false;
    const struct guest_region *region = guest_memory_find(&vm->memory, address);
    if (!region || (write && region->kind == GUEST_REGION_ROM))
        return false;
    if (!resolve(vm, address, write)) {
        stop_for_memory(vm, address.raw);
        *outcome = OUTCOME_STOP;
        return true;
    }
    *outcome = vmx_event_run_again(v, qualification);
    return true;
}

/* The host has written for the guest, or for a debugger. */
static void page_moved(void *context, gpa_t page)
{
    struct vm *vm = context;
    bool own;

    vm_lock(vm);
    hpa_t frame = hpa(layer_find(vm->memory.top, page.raw, &own));
    bool rom = guest_memory_find(&vm->memory, page)->kind == GUEST_REGION_ROM;
    ept_page_moved(vm->ept_root, page, frame, own && !rom);
    vmx_invalidate_ept_everywhere(vm);
    vm_unlock(vm);
    wait_for_others(vm);
}

static void write_failed(void *context, gpa_t page)
{
    stop_for_memory(context, page.raw);
}

void vmx_cow_attach(struct vm *vm)
{
    vm->memory.page_moved = page_moved;
    vm->memory.write_failed = write_failed;
    vm->memory.context = vm;
}

enum status virt_memory_open(struct vm *vm)
{
    return ept_open(vm->ept_root, vm->ept_apic_root, &vm->memory);
}

void virt_memory_clear(struct vm *vm)
{
    ept_clear(vm->ept_root, &vm->memory);
    vmx_invalidate_ept_everywhere(vm);
}

void virt_memory_page_is(struct vm *vm, gpa_t page, hpa_t frame)
{
    ept_page_moved(vm->ept_root, page, frame, false);
}

void virt_memory_changed(const struct vm *vm)
{
    vmx_invalidate_ept_everywhere(vm);
}
