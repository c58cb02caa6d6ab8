/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done against transient execution, as one table: attacks, how a CPU says that it is (not) affected, and the
 * remedies in the order in which they are taken. Pure but for speculation_this_cpu(). docs/security.md has the table
 * in words.
 */
#ifndef ROOTLET_ARCH_SPECULATION_H
#define ROOTLET_ARCH_SPECULATION_H

#include "kernel/lib/bits.h"

/* What a CPU says of itself. */
struct speculation_cpu {
    bool is_intel;         /* CPUID.0: "GenuineIntel" */
    u32 signature;         /* CPUID.1:EAX */
    u32 leaf7_ebx;         /* CPUID.7.0 */
    u32 leaf7_edx;         /* CPUID.7.0 */
    u32 leaf7_2_edx;       /* CPUID.7.2 */
    u64 arch_capabilities; /* IA32_ARCH_CAPABILITIES, 0 where it does not exist */
};
struct speculation_cpu speculation_this_cpu(void);

/* CPUID.7.0:EDX. SDM 2A 3.2 "CPUID - CPU Identification" */
#define LEAF7_EDX_MD_CLEAR          BIT(10)
#define LEAF7_EDX_IBRS              BIT(26) /* and IBPB: IA32_SPEC_CTRL and IA32_PRED_CMD exist */
#define LEAF7_EDX_STIBP             BIT(27)
#define LEAF7_EDX_L1D_FLUSH         BIT(28) /* IA32_FLUSH_CMD exists */
#define LEAF7_EDX_ARCH_CAPABILITIES BIT(29)
#define LEAF7_EDX_SSBD              BIT(31)
/* CPUID.7.2:EDX */
#define LEAF7_2_EDX_PSFD       BIT(0)
#define LEAF7_2_EDX_IPRED_CTRL BIT(1)
#define LEAF7_2_EDX_RRSBA_CTRL BIT(2)
#define LEAF7_2_EDX_DDPD_U     BIT(3)
#define LEAF7_2_EDX_BHI_CTRL   BIT(4)
#define LEAF7_2_EDX_MCDT_NO    BIT(5)

/* IA32_SPEC_CTRL, IA32_PRED_CMD, IA32_FLUSH_CMD: SDM 4 2.1 "Architectural MSRs" */
#define SPEC_CTRL_IBRS      BIT(0)
#define SPEC_CTRL_STIBP     BIT(1)
#define SPEC_CTRL_SSBD      BIT(2)
#define SPEC_CTRL_IPRED_DIS (BIT(3) | BIT(4))
#define SPEC_CTRL_RRSBA_DIS (BIT(5) | BIT(6))
#define SPEC_CTRL_PSFD      BIT(7)
#define SPEC_CTRL_DDPD_U    BIT(8)
#define SPEC_CTRL_BHI_DIS_S BIT(10)
#define PRED_CMD_IBPB       BIT(0)
#define FLUSH_CMD_L1D       BIT(0)

/*
 * SPECULATION_MASKS: `index` modulo `size`, a power of two. For a guest's index into a table of functions, behind the
 * comparison that refuses one that is too large: a CPU may go on for a while as if it had not. The compiler must not
 * see that this changes nothing. Intel, "Bounds Check Bypass" of "Speculative Execution Side Channel Mitigations".
 */
#define SPECULATION_MASK(index, size)                                                                                  \
    ({                                                                                                                 \
        __typeof__(index) masked = (index);                                                                            \
        asm("and %1, %0" : "+r"(masked) : "i"(size - 1) : "cc");                                                       \
        masked;                                                                                                        \
    })

/* What can be done: bits. */
#define SPECULATION_ENHANCED_IBRS   1u    /* IA32_SPEC_CTRL.IBRS, set once */
#define SPECULATION_IBRS            2u    /* set on each exit */
#define SPECULATION_RETPOLINES      4u    /* this build has them instead of indirect branches */
#define SPECULATION_FILL_RETURNS    8u    /* of the return stack buffer, on each exit */
#define SPECULATION_BHI_DIS_S       16u   /* in IA32_SPEC_CTRL, set once */
#define SPECULATION_CLEAR_HISTORY   32u   /* of branches, on each exit */
#define SPECULATION_IBPB            64u   /* when a CPU changes to another VM */
#define SPECULATION_MASKS           128u  /* a guest's index into a table of functions is masked: always */
#define SPECULATION_CLEAR_REGISTERS 256u  /* on each exit */
#define SPECULATION_FLUSH_L1D       512u  /* on each entry */
#define SPECULATION_VERW            1024u /* on each entry */

/* What makes an entry or an exit another one. */
#define SPECULATION_AT_ENTRY_OR_EXIT                                                                                   \
    (SPECULATION_IBRS | SPECULATION_FILL_RETURNS | SPECULATION_CLEAR_HISTORY | SPECULATION_CLEAR_REGISTERS |           \
     SPECULATION_FLUSH_L1D | SPECULATION_VERW)

#define SPECULATION_ROWS 11u

struct speculation {
    u32 acts;             /* what is done */
    u32 affected;         /* bit n: by the attack of row n */
    u32 helpless;         /* bit n: and the CPU has no remedy, since its microcode is too old */
    bool sibling_threads; /* one of them lets a sibling thread read what this one uses */
};

/* wanted: mitigations=auto. */
COLD void speculation_decide(const struct speculation_cpu *cpu, bool wanted, struct speculation *out);
/* Lines of text: what the CPU says, then one for each row. */
COLD void speculation_report(const struct speculation_cpu *cpu, bool wanted, void (*print)(const char *line));
/* The bits of IA32_SPEC_CTRL that exist, 0: the MSR does not exist. */
COLD u64 speculation_spec_ctrl_bits(const struct speculation_cpu *cpu);
/* In one word. */
COLD const char *speculation_summary(const struct speculation *s, bool wanted);

#define SPECULATION_LINE_BYTES 160

#endif
