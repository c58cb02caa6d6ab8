/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which rules a dump breaks, for certain or perhaps. A dump lacks fields, and the CPU's capabilities are rarely known.
 * So the kernel's checker runs many times, each time with other values for what is not known: a rule that breaks every
 * time is broken; one that breaks at times is not judged, and needs what made the difference.
 */
#ifndef ROOTLET_TOOLS_EXPLAIN_JUDGE_H
#define ROOTLET_TOOLS_EXPLAIN_JUDGE_H

#include "tools/vmx_explain/dump.h"
#include "tools/vmx_explain/facts.h"

#define FINDINGS_MAX 512u
#define UNKNOWNS     (CHECK_FIELDS + FACTS) /* a field's row, or CHECK_FIELDS + a fact */

enum certainty { FINDING_BROKEN, FINDING_OPEN };

struct finding {
    struct check_report report; /* bits: those that are wrong in every case; of an open one in some case */
    enum certainty certainty;
    u32 runs;     /* in how many runs it broke */
    bool in_base; /* whether it broke before the unknown that is being varied was */
    u64 base_bits;
    u64 all, any; /* its wrong bits in all runs, and in any */
    u32 last_run;
    bool needs[UNKNOWNS];
};

/* What the CPU itself says of the entry. */
enum cpu_verdict {
    CPU_SAYS_NOTHING,
    CPU_SAYS_BASIC,    /* VM-instruction errors 4, 5, 26: SDM 3C 26.1 */
    CPU_SAYS_CONTROLS, /* error 7 */
    CPU_SAYS_HOST,     /* error 8 */
    CPU_SAYS_GUEST,    /* exit reason 33 */
    CPU_SAYS_MSRS,     /* exit reason 34 */
    CPU_SAYS_OTHER     /* exit reason 41: a machine check */
};

struct judgement {
    enum cpu_verdict cpu;
    u64 reason, error;          /* ~0: not told */
    u64 qualification;          /* ~0: not told */
    struct check_result result; /* of the run that breaks the fewest rules; skipped: memory that nobody has */
    u32 findings;
    bool cut; /* there were more than FINDINGS_MAX */
    struct finding finding[FINDINGS_MAX];
};

void judge(struct judgement *judgement, const struct dump *dump, struct facts *facts);

/* True if breaking the rule can be what the CPU says. */
bool judge_is_the_cpus(const struct judgement *judgement, u32 rule);

#endif
