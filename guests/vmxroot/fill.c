/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMCS for an inner guest that has the segments, page tables and control registers of this guest, and runs from
 * vmxroot_inner on. Host state: the same, from vmxroot_exit on. SDM 3C 24 "Virtual Machine Control Structures".
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"
#include "guests/vmxroot/vmxroot.h"

extern const u8 vmxroot_exit[], vmxroot_inner[];

#define MSR_IA32_VMX_PINBASED_CTLS 0x481u
#define FLAT_CODE                  0xc09bu
#define FLAT_DATA                  0xc093u
#define UNUSABLE                   0x10000u
#define BUSY_TSS                   0x8bu

static u32 tss[32];
static u32 inner_stack[256];

struct __attribute__((packed)) table {
    u16 limit;
    u32 base;
};

/* The controls that must be 1, and those that are wanted: SDM 3D A.2 "Reserved Controls and Default Settings". */
static void write_controls(u32 encoding, u32 msr, u32 wanted)
{
    u64 allowed;

    expect(msr_try_read(msr, &allowed), "no capability MSR");
    vmxroot_write(encoding, (u32)allowed | wanted);
}

static void write_segments(void)
{
    static const u8 data[] = {0, 4, 6, 8, 10}; /* ES, SS, DS, FS, GS, by their encodings' offset from ES's */
    u16 cs, ds;

    __asm__ volatile("mov %%cs, %0\n\tmov %%ds, %1" : "=r"(cs), "=r"(ds));
    for (u32 i = 0; i < ARRAY_LENGTH(data); i++) {
        vmxroot_write(0x0800u + data[i], ds);
        vmxroot_write(0x0c00u + data[i], ds & 0xfff8u);
        vmxroot_write(0x4800u + data[i], 0xffffffff);
        vmxroot_write(0x4814u + data[i], FLAT_DATA);
        vmxroot_write(0x6806u + data[i], 0);
    }
    vmxroot_write(0x0802, cs);
    vmxroot_write(0x0c02, cs);
    vmxroot_write(0x4802, 0xffffffff);
    vmxroot_write(0x4816, FLAT_CODE);
    vmxroot_write(0x6808, 0);
    vmxroot_write(0x080c, 0); /* LDTR */
    vmxroot_write(0x4820, UNUSABLE);
    vmxroot_write(0x080e, 0x38); /* TR */
    vmxroot_write(0x0c0c, 0x38);
    vmxroot_write(0x480e, 0x67);
    vmxroot_write(0x4822, BUSY_TSS);
    vmxroot_write(0x6814, (u32)tss);
    vmxroot_write(0x6c0a, (u32)tss);
}

static void write_tables(void)
{
    struct table gdt, idt;

    __asm__ volatile("sgdt %0\n\tsidt %1" : "=m"(gdt), "=m"(idt));
    vmxroot_write(0x4810, gdt.limit);
    vmxroot_write(0x4812, idt.limit);
    vmxroot_write(0x6816, gdt.base);
    vmxroot_write(0x6818, idt.base);
    vmxroot_write(0x6c0c, gdt.base);
    vmxroot_write(0x6c0e, idt.base);
}

void vmxroot_fill(void)
{
    write_controls(VMCS_PIN_CONTROLS, MSR_IA32_VMX_PINBASED_CTLS, 0);
    write_controls(VMCS_PROC_CONTROLS, MSR_IA32_VMX_PINBASED_CTLS + 1, 1u << 7 | 1u << 24); /* HLT, I/O */
    write_controls(VMCS_EXIT_CONTROLS, MSR_IA32_VMX_PINBASED_CTLS + 2, 0);
    write_controls(VMCS_ENTRY_CONTROLS, MSR_IA32_VMX_PINBASED_CTLS + 3, 0);
    vmxroot_write(0x4004, 0); /* exception bitmap */
    vmxroot_write(0x4016, 0); /* VM-entry interruption information */
    vmxroot_write(0x400e, 0);
    vmxroot_write(0x4010, 0);
    vmxroot_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmxroot_write(0x6000, 0); /* CR0 and CR4 masks */
    vmxroot_write(0x6002, 0);
    vmxroot_write(VMCS_LINK_POINTER, 0xffffffff);
    vmxroot_write(VMCS_LINK_POINTER + 1, 0xffffffff);
    vmxroot_write(VMCS_GUEST_DEBUGCTL, 0);
    write_segments();
    write_tables();
    vmxroot_write(0x6800, (u32)cpu_read_cr0());
    vmxroot_write(0x6802, vmxroot_directory());
    vmxroot_write(0x6804, (u32)cpu_read_cr4());
    vmxroot_write(VMCS_HOST_CR0, (u32)cpu_read_cr0());
    vmxroot_write(0x6c02, vmxroot_directory());
    vmxroot_write(0x6c04, (u32)cpu_read_cr4());
    vmxroot_write(0x681a, 0x400); /* DR7 */
    vmxroot_write(0x681c, (u32)(inner_stack + ARRAY_LENGTH(inner_stack)));
    vmxroot_write(VMCS_GUEST_RIP, (u32)vmxroot_inner);
    vmxroot_write(VMCS_GUEST_RFLAGS, 2);
    vmxroot_write(0x4824, 0); /* interruptibility, activity, pending debug exceptions */
    vmxroot_write(0x4826, 0);
    vmxroot_write(0x6822, 0);
    vmxroot_write(0x6c16, (u32)vmxroot_exit);
}
