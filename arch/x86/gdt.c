/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Building and loading a CPU's GDT and TSS. Runs on the CPU concerned, interrupts off. The TSS only supplies the
 * interrupt stacks: there is no user mode and no I/O permission map.
 * SDM 3A 3.4.5 "Segment Descriptors", 7.2.3 "TSS Descriptor in 64-bit mode".
 */
#include "arch/x86/gdt.h"

#define DESCRIPTOR_CODE 0x00af9b000000ffffull /* 64-bit, present, accessed */
#define DESCRIPTOR_DATA 0x00cf93000000ffffull
#define TSS_AVAILABLE   0x89ull

struct PACKED table_pointer {
    u16 limit;
    u64 base;
};

static void build(struct cpu_local *cpu)
{
    u64 base = tss_base(cpu);
    u64 limit = sizeof cpu->tss - 1;

    cpu->tss = (struct tss){.io_map_base = sizeof cpu->tss};
    for (u32 i = 0; i < IST_COUNT; i++)
        cpu->tss.ist[i] = cpu->ist_top[i];
    cpu->gdt[0] = 0;
    cpu->gdt[SELECTOR_KERNEL_CODE / 8] = DESCRIPTOR_CODE;
    cpu->gdt[SELECTOR_KERNEL_DATA / 8] = DESCRIPTOR_DATA;
    cpu->gdt[SELECTOR_TSS / 8] = limit | (base & 0xffffff) << 16 | TSS_AVAILABLE << 40 | (base >> 24 & 0xff) << 56;
    cpu->gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
}

void gdt_load_cpu(struct cpu_local *cpu)
{
    build(cpu);

    struct table_pointer pointer = {sizeof cpu->gdt - 1, gdt_base(cpu)};
    u64 scratch;
    asm volatile("lgdt %[pointer]\n\t"
                 "pushq %[code]\n\t"
                 "leaq 1f(%%rip), %[scratch]\n\t"
                 "pushq %[scratch]\n\t"
                 "lretq\n"
                 "1:\n\t"
                 "mov %[data], %%ds\n\t"
                 "mov %[data], %%es\n\t"
                 "mov %[data], %%ss\n\t"
                 "ltr %[tss]"
                 : [scratch] "=&r"(scratch)
                 : [pointer] "m"(pointer), [code] "i"(SELECTOR_KERNEL_CODE), [data] "r"(SELECTOR_KERNEL_DATA),
                   [tss] "r"((u16)SELECTOR_TSS)
                 : "memory");
}
