/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See msr.h.
 */
#include "test/fake/msr.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_MSRS 64u

static struct {
    u32 index;
    u64 value;
} msrs[MAX_MSRS];
static u32 msr_count;
static u32 write_count;

static u64 *find(u32 index)
{
    for (u32 i = 0; i < msr_count; i++)
        if (msrs[i].index == index)
            return &msrs[i].value;
    fprintf(stderr, "#GP in the host: MSR 0x%x does not exist\n", index);
    abort();
}

void fake_msr_reset(void)
{
    msr_count = write_count = 0;
}

void fake_msr_set(u32 index, u64 value)
{
    u32 at = 0;

    while (at < msr_count && msrs[at].index != index)
        at++;
    if (at == MAX_MSRS)
        abort();
    msr_count += at == msr_count;
    msrs[at].index = index;
    msrs[at].value = value;
}

u64 fake_msr_get(u32 index)
{
    return *find(index);
}

u32 fake_msr_write_count(void)
{
    return write_count;
}

u64 msr_read(u32 index)
{
    return *find(index);
}

void msr_write(u32 index, u64 value)
{
    write_count++;
    *find(index) = value;
}

static bool exists(u32 index)
{
    for (u32 i = 0; i < msr_count; i++)
        if (msrs[i].index == index)
            return true;
    return false;
}

bool msr_read_safe(u32 index, u64 *value)
{
    if (exists(index))
        *value = *find(index);
    return exists(index);
}

bool msr_write_safe(u32 index, u64 value)
{
    if (exists(index))
        msr_write(index, value);
    return exists(index);
}

void fake_msr_skylake(void)
{
    static const struct {
        u32 index;
        u64 value;
    } rows[] = {
        {MSR_IA32_FEATURE_CONTROL,         5                 },
        {MSR_IA32_VMX_BASIC,               0x00d810000000002b},
        {MSR_IA32_VMX_PINBASED_CTLS,       0x0000007f00000016},
        {MSR_IA32_VMX_PROCBASED_CTLS,      0xf7f9fffe0401e172},
        {MSR_IA32_VMX_EXIT_CTLS,           0x007fffff00036dff},
        {MSR_IA32_VMX_ENTRY_CTLS,          0x0000ffff000011ff},
        {MSR_IA32_VMX_MISC,                0x00000000600401e0},
        {MSR_IA32_VMX_CR0_FIXED0,          0x80000021        },
        {MSR_IA32_VMX_CR0_FIXED1,          0xffffffff        },
        {MSR_IA32_VMX_CR4_FIXED0,          0x2000            },
        {MSR_IA32_VMX_CR4_FIXED1,          0x00372fff        },
        {MSR_IA32_VMX_VMCS_ENUM,           0x34              },
        {MSR_IA32_VMX_PROCBASED_CTLS2,     0x02177fff00000000},
        {MSR_IA32_VMX_EPT_VPID_CAP,        0x00000f0106334141},
        {MSR_IA32_VMX_TRUE_PINBASED_CTLS,  0x0000007f00000016},
        {MSR_IA32_VMX_TRUE_PROCBASED_CTLS, 0xf7f9fffe04006172},
        {MSR_IA32_VMX_TRUE_EXIT_CTLS,      0x007fffff00036dfb},
        {MSR_IA32_VMX_TRUE_ENTRY_CTLS,     0x0000ffff000011fb},
        {MSR_IA32_VMX_VMFUNC,              1                 },
    };
    for (u32 i = 0; i < sizeof rows / sizeof rows[0]; i++)
        fake_msr_set(rows[i].index, rows[i].value);
}
