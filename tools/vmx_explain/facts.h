/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the rules ask of the CPU: its capability MSRs, its address widths and a few features. Each is a range: `loose`
 * breaks the fewest rules, `strict` the most, and both are the same where the value is known. What no CPU so far has
 * otherwise counts as known.
 */
#ifndef ROOTLET_TOOLS_EXPLAIN_FACTS_H
#define ROOTLET_TOOLS_EXPLAIN_FACTS_H

#include "tools/vmx_explain/words.h"
#include "vmx/check/check.h"

enum fact {
    FACT_BASIC,
    FACT_MISC,
    FACT_CR0_FIXED0,
    FACT_CR0_FIXED1,
    FACT_CR4_FIXED0,
    FACT_CR4_FIXED1,
    FACT_EPT_VPID,
    FACT_MUST, /* what must be 1, by enum vmx_group */
    FACT_MAY = FACT_MUST + VMX_GROUPS,
    FACT_PHYSICAL_BITS = FACT_MAY + VMX_GROUPS,
    FACT_LINEAR_BITS,
    FACT_LONG_MODE, /* at the VM entry */
    FACT_SGX,
    FACT_RTM,
    FACT_STI_BLOCKS_NMI,
    FACT_EFER,
    FACT_DEBUGCTL,
    FACT_PERF_GLOBAL,
    FACT_VMFUNC,
    FACTS
};

struct facts {
    u64 loose[FACTS], strict[FACTS];
};

/* What is known of every CPU that has VMX. */
void facts_of_any_cpu(struct facts *facts);
/* Those of a model; false if there is none of that name. */
bool facts_of_model(struct facts *facts, const char *name);
/* What a text tells: `vmx cap` lines, lines of MSR numbers or names with values, rdmsr's output, /proc/cpuinfo. Returns
 * how many facts it found. */
u32 facts_from_text(struct facts *facts, const struct words *words);
/* One of a range's two values for each fact, as the checker wants them. */
void facts_apply(const u64 value[FACTS], struct vmx_caps *caps, struct check_cpu *cpu);
/* IA32_VMX_CR4_FIXED1, MAXPHYADDR and so on. */
const char *facts_name(enum fact fact);

#endif
