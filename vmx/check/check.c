/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM-entry checker's driver: takes what many rules ask for out of the image and runs the groups of rules in the
 * CPU's order. Pure. SDM 3C 26.2 "Checks on VMX Controls and Host-State Area".
 */
#include "vmx/check/rules.h"

struct check_result vmx_check_entry(const struct check_image *image, const struct vmx_caps *caps, check_reporter report,
                                    void *context)
{
    struct check c = {.image = image, .caps = caps, .report = report, .context = context};
    u32 event = (u32)check_get(&c, FIELD_ENTRY_INTERRUPTION_INFO);

    /* SDM 3C 26.2.1.1: unless they are activated, all secondary controls act as 0. */
    if (check_get(&c, FIELD_PROC_CONTROLS) & PROC_SECONDARY)
        c.proc2 = (u32)check_get(&c, FIELD_PROC2_CONTROLS);
    c.entry = (u32)check_get(&c, FIELD_ENTRY_CONTROLS);
    c.event = event & EVENT_VALID ? event : 0;
    c.cr0 = check_get(&c, FIELD_GUEST_CR0);
    c.ia32e = c.entry & ENTRY_IA32E_GUEST;
    c.unrestricted = c.proc2 & PROC2_UNRESTRICTED_GUEST;

    if (!(image->settled & CHECK_SETTLED_CONTROLS))
        check_controls(&c);
    if (!(image->settled & CHECK_SETTLED_HOST))
        check_host(&c);
    if (!(image->settled & CHECK_SETTLED_GUEST)) {
        check_guest(&c);
        check_segments(&c);
        check_state(&c);
    }
    check_msrs(&c);
    return c.result;
}
