/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See mca.h. SDM 3B 15.8 "Machine-Check Initialization", example 15-1; features.c has set CR4.MCE. Each MSR access is a
 * careful one: hypervisors below us and emulators have banks with holes.
 */
#include "arch/x86/mca.h"
#include "arch/x86/cpu.h"

#define LEAF1_EDX_MCE BIT(7)
#define LEAF1_EDX_MCA BIT(14)
#define MCG_COUNT     0xffu
#define MCG_CTL_P     BIT(8)
#define STATUS_VALID  BIT(63)
#define STATUS_MISCV  BIT(59)
#define STATUS_ADDRV  BIT(58)
#define BANKS_MAX     32u /* their MSRs lie at 400H to 47FH */

enum { CTL, STATUS, ADDRESS, MISC };

static u32 msr_of(u32 bank, u32 which)
{
    return MSR_IA32_MC0_CTL + 4 * bank + which;
}

static u64 capabilities(void)
{
    u64 value;
    u32 needed = LEAF1_EDX_MCE | LEAF1_EDX_MCA;

    if ((cpu_cpuid(1, 0).edx & needed) != needed || !msr_read_safe(MSR_IA32_MCG_CAP, &value))
        return 0;
    return value;
}

u32 mca_bank_count(void)
{
    u32 count = (u32)capabilities() & MCG_COUNT;
    return count < BANKS_MAX ? count : BANKS_MAX;
}

/* SDM 3B 15.3.2.1 "IA32_MCi_CTL MSRs": that of bank 0 is firmware's on the P6 family. */
static bool is_p6(void)
{
    u32 signature = cpu_cpuid(1, 0).eax;
    u32 model = (signature >> 4 & 15) | (signature >> 12 & 0xf0);

    return (signature >> 8 & 15) == 6 && model < 0x1a;
}

void mca_init_cpu(void)
{
    u32 count = mca_bank_count();
    bool done = true;

    if (capabilities() & MCG_CTL_P)
        done = msr_write_safe(MSR_IA32_MCG_CTL, ~0ull);
    for (u32 bank = is_p6() ? 1 : 0; bank < count; bank++)
        done = msr_write_safe(msr_of(bank, CTL), ~0ull) && done;
    (void)done; /* a bank that is not there reports nothing */
}

bool mca_read(u32 bank, struct mca_error *error)
{
    *error = (struct mca_error){0};
    if (!msr_read_safe(msr_of(bank, STATUS), &error->status) || !(error->status & STATUS_VALID))
        return false;
    if (error->status & STATUS_ADDRV && !msr_read_safe(msr_of(bank, ADDRESS), &error->address))
        error->address = 0;
    if (error->status & STATUS_MISCV && !msr_read_safe(msr_of(bank, MISC), &error->misc))
        error->misc = 0;
    return true;
}

/* SDM 3B 15.3.2.2 "IA32_MCi_STATUS MSRS": nothing but 0 may be written. */
void mca_clear(u32 bank)
{
    bool done = msr_write_safe(msr_of(bank, STATUS), 0);
    (void)done;
}
