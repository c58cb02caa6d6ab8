/* SPDX-License-Identifier: BSD-2-Clause */
/* What an exit's handler wants done with the guest's RIP, and whether the guest goes on. */
#ifndef ROOTLET_VMX_OUTCOME_H
#define ROOTLET_VMX_OUTCOME_H

/* Only run.c moves RIP. */
enum outcome {
    OUTCOME_SKIP,         /* the instruction is done: move RIP past it */
    OUTCOME_RESUME,       /* enter again at the same RIP */
    OUTCOME_SKIP_DECODED, /* as OUTCOME_SKIP, by skip_bytes: the VMCS does not know the length */
    OUTCOME_STOP          /* vm_stop has been called */
};

#endif
