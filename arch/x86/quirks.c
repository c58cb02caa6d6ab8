/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of quirks. docs/running.md has the same rows for users. Bochs is known by the revision of its VMCS with a
 * size of 4096 bytes: the revision is one that Bochs chose as its own, or, on models from Ice Lake on, that of the real
 * CPUs, but those have 1024 bytes. A hypervisor between Bochs and us, such as KVM, shows its own revision and has its
 * own faults.
 */
#include "arch/x86/quirks.h"
#include "arch/x86/cpu.h"
#include "arch/x86/xsave.h"
#include "kernel/lib/string.h"

#define BOCHS_VMCS      (0x1000ull << 32 | 0x2b)
#define BOCHS_NEW_VMCS  (0x1000ull << 32 | 0x4)
#define VMX_BASIC_VMCS  (0x1fffull << 32 | 0x7fffffff) /* size and revision: SDM 3D A.1 "Basic VMX Information" */
#define LEAFD_1_XSAVEC  BIT(1)
#define COMPACTED_BYTES 1024u

u32 quirks_found;

static bool is_bochs(void)
{
    u64 vmcs = msr_read(MSR_IA32_VMX_BASIC) & VMX_BASIC_VMCS;

    return vmcs == BOCHS_VMCS || vmcs == BOCHS_NEW_VMCS;
}

static bool misplaces_in_xsavec(void)
{
    static u8 area[COMPACTED_BYTES] __attribute__((aligned(XSAVE_ALIGNMENT)));

    memset(area, 0, sizeof area);
    return xsave_is_available() && cpu_cpuid(0xd, 1).eax & LEAFD_1_XSAVEC && xsave_supported_mask() & XCR0_AVX &&
           !xsave_check_compaction(area);
}

/* Bochs 3.0 has mended both. */
static bool is_bochs27(void)
{
    return is_bochs() && misplaces_in_xsavec();
}

/* A model without XSAVEC does not show the version. It passes for this one, whose rows do no harm. */
static bool is_bochs30(void)
{
    return is_bochs() && !misplaces_in_xsavec();
}

/*
 * - XSAVEC: Bochs 2.7. XSAVEC and XSAVES write components over the area's header, where XRSTOR does not look for them.
 *   Guests have neither: vmx/exit/cpuid.c. Tried, whoever the engine is.
 * - NMI_BLOCKING: Bochs 2.7. VM entry sets "blocking by NMI" in the CPU, but does not clear it. Each NMI is followed up
 *   to its IRET, and blocking without an NMI in service is taken back: vmx/event.c.
 * - VIRTUAL_DELIVERY: Bochs 2.7 and 3.0. A virtual interrupt that waits is delivered to a guest with RFLAGS.IF clear
 *   when an external one arrives. A VM's local APICs are software's unless its line says apicv=on: vmx/root.c.
 * - EMPTY_NOTIFICATION: Bochs 3.0. A notification that finds no posted request delivers vector 255, unless something is
 *   in IRR. Bit 0 is, always, since a vector below 16 is never delivered: vmx/apicv.c.
 * - STI_SHADOW: Bochs 3.0 as Debian builds it. A VM exit or an exception on any CPU ends the blocking by STI on CPU 0:
 *   Bochs's loop over the CPUs counts an instruction for CPU 0, since gcc does not keep its counter over setjmp(). An
 *   interrupt then comes before the HLT that waits for it: vmx/exit/exit.c, kernel/sched/sched.c.
 * - EXCEPTION_RIP: Bochs 3.0 with several CPUs. A VM exit between an exception and its handler's first instruction
 * saves the RIP of the instruction that raised it, since Bochs goes back to its prev_rip, which the loop over the CPUs
 * does not set after an exception. Faults exit instead of being delivered: vmx/exit/exit.c.
 */
static const struct {
    const char *name;
    bool (*is_here)(void);
} rows[QUIRKS] = {
    [QUIRK_XSAVEC] = {"xsavec",              misplaces_in_xsavec},
    [QUIRK_NMI_BLOCKING] = {"nmi-blocking",        is_bochs27         },
    [QUIRK_VIRTUAL_DELIVERY] = {"virtual-interrupts",  is_bochs           },
    [QUIRK_EMPTY_NOTIFICATION] = {"empty-notifications", is_bochs           },
    [QUIRK_STI_SHADOW] = {"sti-shadow",          is_bochs30         },
    [QUIRK_EXCEPTION_RIP] = {"exception-rip",       is_bochs30         },
};

void quirks_detect(void)
{
    quirks_found = 0;
    for (unsigned i = 0; i < QUIRKS; i++)
        if (rows[i].is_here())
            quirks_found |= 1u << i;
}

const char *quirks_name(enum quirk quirk)
{
    return rows[quirk].name;
}
