/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The capability report: every VMX capability MSR in the SDM's words, what of it Rootlet needs, uses and leaves alone,
 * and what it does instead of what is missing. Pure. SDM 3D Appendix A "VMX Capability Reporting Facility".
 */
#ifndef ROOTLET_VMX_REPORT_CAPS_H
#define ROOTLET_VMX_REPORT_CAPS_H

#include "vmx/caps.h"

#define CAPS_REPORT_LINE_BYTES 144u /* at most, with the NUL; the longest line of the log has 160 with its prefix */

/* The SDM's name of the capability MSR `index` (IA32_FEATURE_CONTROL, or IA32_VMX_BASIC and on); NULL: it is none. */
const char *caps_report_msr_name(u32 index);
/*
 * Calls print for each line of the report on a CPU with these MSRs, the option vmx.disable=`disable` as
 * vmx_caps_disable takes it, and features in `withheld`, a list like it, that the CPU has but that do not work on it.
 * The first lines, "vmx cap ...", hold all that the rest is made of. Precondition: the MSRs that always exist have been
 * read.
 */
void vmx_caps_report(const struct vmx_caps_raw *raw, const char *disable, const char *withheld,
                     void (*print)(const char *line));

#endif
