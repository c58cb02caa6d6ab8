/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest hypervisor is offered on any machine, and the checker with it: nothing is offered that the machine has
 * not, RDMSR tells the guest just what the checker goes by, and a VMCS that is valid by the offer is valid on the
 * machine. The last holds but for the linked VMCS, whose revision identifier is another one.
 * links: vmx/nested/offer.c vmx/caps.c vmx/check/check.c vmx/check/rule.c vmx/check/controls.c vmx/check/host.c
 * vmx/check/guest.c vmx/check/segments.c vmx/check/state.c vmx/check/msrs.c vmx/check/text.c vmx/check/fields.c
 * vmx/controls.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <stdint.h>
#include <stdlib.h>

#include "test/fake/check_images.h"
#include "test/fake/fuzz_input.h"
#include "test/fake/must.h"
#include "arch/x86/regs.h"
#include "vmx/nested/offer.h"

static void change(struct bench *b, struct input *in)
{
    u32 row = (u32)take(in, 1);

    if (row < CHECK_FIELDS) {
        u32 how = (u32)take(in, 1);
        u64 value = how & 0x40 ? BIT(how & 63) : take(in, 8);
        b->image.value[row] =
            (how & 0x80 ? b->image.value[row] ^ value : value) & ~0ull >> (64 - check_field_bits(row));
    } else if (row < 0xf0) {
        struct vmx_allowed *allowed = &b->caps.group[row % VMX_GROUPS];
        allowed->may_be_one ^= (u32)BIT(take(in, 1) & 31);
        allowed->must_be_one &= allowed->may_be_one;
    } else {
        u64 *caps = &b->caps.basic; /* basic, misc, CR0 and CR4 fixed bits, EPT_VPID_CAP */
        caps[row % 7] ^= BIT(take(in, 1) & 63);
    }
}

/* No CPU is otherwise: CR4 bits fixed to 1 can be 1; 64-bit CPUs take 64-bit addresses; those with CET any error code.
 */
static void mend(struct vmx_caps *machine)
{
    machine->cr4_fixed1 |= machine->cr4_fixed0;
    machine->basic &= ~BIT(48);
    if (machine->cr4_fixed1 & CR4_CET)
        machine->basic |= BIT(56);
}

static void check_msrs(const struct vmx_caps *offered)
{
    struct vmx_caps_raw raw = {0};
    struct vmx_caps taken;

    MUST(nested_offer_msr(offered, MSR_IA32_FEATURE_CONTROL, &raw.feature_control));
    for (u32 i = 0; i < VMX_CAPS_MSRS; i++) {
        bool exists = nested_offer_msr(offered, MSR_IA32_VMX_BASIC + i, &raw.value[i]);
        MUST(exists == vmx_caps_exists(&raw, MSR_IA32_VMX_BASIC + i));
        raw.value[i] = exists ? raw.value[i] : 0;
    }
    if (offered->basic & BIT(55)) {
        vmx_caps_take(&raw, &taken);
        MUST(memcmp(&taken, offered, sizeof taken) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bench b;
    struct input in = {data, size};
    struct vmx_caps offered;

    bench_set_up(&b, (enum bench_base)(take(&in, 1) % BENCH_BASES));
    u32 has = (u32)take(&in, 1);
    struct nested_guest guest = {take(&in, 4), has & 1, has & 2, has & 4};
    while (in.left)
        change(&b, &in);
    mend(&b.caps);
    b.image.value[FIELD_VMCS_LINK_POINTER] = ~0ull;

    nested_offer(&b.caps, &guest, &offered);
    for (u32 g = 0; g < VMX_GROUPS; g++) {
        MUST(offered.group[g].must_be_one == b.caps.group[g].must_be_one || g == VMX_PROC2);
        MUST(!(offered.group[g].may_be_one & ~b.caps.group[g].may_be_one));
    }
    MUST(!(offered.ept_vpid & ~b.caps.ept_vpid) && !(offered.cr4_fixed1 & ~b.caps.cr4_fixed1));
    MUST((offered.misc >> 16 & 0x1ff) <= (b.caps.misc >> 16 & 0x1ff));
    check_msrs(&offered);
    if (vmx_check_entry(&b.image, &offered, NULL, NULL).broken == 0)
        MUST(vmx_check_entry(&b.image, &b.caps, NULL, NULL).broken == 0);
    return 0;
}
