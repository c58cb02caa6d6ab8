/* SPDX-License-Identifier: BSD-2-Clause */
/* What usually breaks a rule, and where to look: one or two sentences for each. */
#ifndef ROOTLET_TOOLS_EXPLAIN_CAUSES_H
#define ROOTLET_TOOLS_EXPLAIN_CAUSES_H

#include "kernel/lib/types.h"

/* The rule's name: BLOCKING_STI. */
const char *cause_rule_name(u32 rule);
/* Never NULL. */
const char *cause_of(u32 rule);

#endif
