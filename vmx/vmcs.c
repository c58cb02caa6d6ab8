/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMX instructions that are more than a field access: each tells by its result whether it failed.
 * SDM 3C 30.2 "Conventions", 30.3 "VMX Instructions". Root operation, interrupts off.
 */
#include "vmx/vmcs.h"
#include "kernel/panic.h"

void vmcs_read_failed(u64 encoding)
{
    panic("VMREAD of field 0x%lx failed", encoding);
}

void vmcs_write_failed(u64 encoding)
{
    panic("VMWRITE of field 0x%lx failed", encoding);
}

hpa_t vmcs_current(void)
{
    hpa_t region;
    asm volatile("vmptrst %0" : "=m"(region.raw) : : "cc");
    return region;
}

bool vmx_on(hpa_t region)
{
    bool failed;
    asm volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region.raw) : "memory");
    return !failed;
}

bool vmx_off(void)
{
    bool failed;
    asm volatile("vmxoff" : "=@ccbe"(failed) : : "memory");
    return !failed;
}
