/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The blocks and stacks of all CPUs. Each stack has an unmapped page below it: overflow is a #PF that turns into #DF,
 * and #DF has a stack of its own. The boot CPU's stacks stand in the image, since it needs one before there is an
 * allocator. Blocks are made by the boot CPU only, one CPU at a time.
 */
#include "arch/x86/percpu.h"
#include "arch/x86/features.h"
#include "arch/x86/gdt.h"
#include "arch/x86/idt.h"
#include "arch/x86/paging.h"

struct boot_stacks percpu_boot_stacks ALIGNED(4096);
struct cpu_local percpu_blocks[CPU_MAX];

struct cpu_local *cpu_local_of(u32 id)
{
    return &percpu_blocks[id];
}

void percpu_init_boot_cpu(void)
{
    struct cpu_local *cpu = cpu_local_of(0);

    cpu->stack_top = (u64)(uintptr_t)percpu_boot_stacks.stack + sizeof percpu_boot_stacks.stack;
    for (u32 i = 0; i < IST_COUNT; i++)
        cpu->ist_top[i] = (u64)(uintptr_t)percpu_boot_stacks.ist[i].stack + IST_BYTES;
    gdt_load_cpu(cpu);
    idt_init();
    idt_load();
    features_detect();
    features_enable_cpu();
    cpu->online = 1;
}

void percpu_guard_boot_stacks(void)
{
    paging_remove_image_page(percpu_boot_stacks.guard);
    for (u32 i = 0; i < IST_COUNT; i++)
        paging_remove_image_page(percpu_boot_stacks.ist[i].guard);
}

enum status percpu_create(u32 id, u32 apic_id, struct cpu_local **out)
{
    struct cpu_local *cpu = cpu_local_of(id);
    enum status status = STATUS_OK;

    if (!cpu->stack_top)
        status = paging_allocate_stack(CPU_STACK_BYTES, &cpu->stack_top);
    for (u32 i = 0; i < IST_COUNT && status == STATUS_OK; i++)
        if (!cpu->ist_top[i])
            status = paging_allocate_stack(IST_BYTES, &cpu->ist_top[i]);
    if (status != STATUS_OK)
        return status;
    cpu->self = cpu;
    cpu->id = id;
    cpu->apic_id = apic_id;
    *out = cpu;
    return STATUS_OK;
}

void percpu_load(struct cpu_local *cpu)
{
    gdt_load_cpu(cpu);
    idt_load();
    features_enable_cpu();
}

static bool within(u64 top, u64 size_bytes, u64 address, u64 bytes)
{
    return top && address >= top - size_bytes && address < top && bytes <= top - address;
}

bool percpu_stack_contains(const struct cpu_local *cpu, u64 address, u64 bytes)
{
    bool inside = within(cpu->stack_top, CPU_STACK_BYTES, address, bytes);

    for (u32 i = 0; i < IST_COUNT; i++)
        inside = inside || within(cpu->ist_top[i], IST_BYTES, address, bytes);
    return inside;
}
