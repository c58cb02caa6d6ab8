/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that is a hypervisor (nested=on): what its vCPU has of VMX, as the rest of vmx/ sees it. Here "the guest" is
 * the guest hypervisor, "the inner guest" what it runs. Everything runs between exit and entry on the vCPU's CPU, its
 * VMCS current. SDM 3C 23 "Introduction to Virtual Machine Extensions", 30 "VMX Instruction Reference".
 */
#ifndef ROOTLET_VMX_NESTED_NESTED_H
#define ROOTLET_VMX_NESTED_NESTED_H

#include "vmx/check/check.h"
#include "vmx/nested/shadow.h"
#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

#define NESTED_NONE UINT64_MAX /* as VMPTRST shows that there is no current VMCS */

/*
 * What goes with one of the two VMCSs of such a vCPU: that in which the guest runs, and that in which its inner guest
 * does. Those of the one that runs are in struct vmx_vcpu, under the same names.
 */
struct nested_level {
    VMX_LEVEL;
    u32 windows;
};

/* A page of the guest's that its VMCS names, where the host sees it. NULL: it is not all RAM. */
struct nested_page {
    u64 address;
    u8 *host;
};

#define NESTED_MSR_WORDS  16u
#define NESTED_MOST_RULES 24u

/* How the guest learns that an entry is refused. */
struct why_refusal {
    bool launch;  /* VMLAUNCH, not VMRESUME */
    bool is_exit; /* a VM exit, not an error number */
    u32 number;   /* basic exit reason or VM-instruction error; 0: VMfailInvalid */
};

/* An entry that was refused, and why: why.c puts it into words. */
struct nested_refusal {
    struct why_refusal how;
    u32 broken;       /* so many rules; 0: no entry was refused */
    const char *rule; /* one that the checker has not, with what it looks at; NULL: those in reports[] */
    const char *section;
    const char *field;
    u32 entry; /* of a list, counted from 1; 0: none */
    u64 value;
    struct check_report reports[NESTED_MOST_RULES];
};

/* In frames of its own, for each vCPU of a VM with nested=on. */
struct nested {
    u64 vmxon;               /* the VMXON pointer; NESTED_NONE: not in VMX operation */
    u64 current;             /* the current-VMCS pointer, or NESTED_NONE */
    bool launched;           /* its launch state */
    bool is_shadow;          /* it is a shadow VMCS, which cannot be entered */
    u8 exists[CHECK_FIELDS]; /* by row: the guest's CPU has the field */
    struct vmx_caps caps;    /* what its capability MSRs say */
    struct shadow shadow;    /* the tables for its inner guests */
    /*
     * The fields of the current VMCS, which a CPU, too, may keep anywhere while it is active; vmcs12.c moves them from
     * and to the region. VMREAD, VMWRITE and the checks of a VM entry all use them where they are.
     */
    struct check_image image;
    /*
     * Most of the state of an inner guest that has left stays in the CPU's VMCS until somebody asks for it, and what
     * the guest hypervisor has not written since is neither checked nor copied again: image.settled, and these.
     */
    bool guest_is_stale; /* that state is newer than `image` */
    bool guest_written;  /* the guest hypervisor has changed some of it since */
    bool controls_written;
    struct nested_refusal refusal; /* the last one */
    hpa_t mirror;                  /* the shadow VMCS: mirror.c */
    bool has_mirror;               /* the CPU uses it */
    bool is_mirrored;              /* it has what `image` has, but for what the guest has written since */

    bool inside;                     /* the inner guest runs, not the guest */
    bool untried;                    /* the CPU has not entered it since its hypervisor's VMLAUNCH or VMRESUME */
    bool by_launch;                  /* it was VMLAUNCH */
    bool made;                       /* the VMCS for inner guests has been written for the first time */
    bool stale;                      /* translations of inner guests are to be forgotten before the next one runs */
    hpa_t tpr_page;                  /* the virtual-APIC page of inner guests: their TPR is in it while they run */
    struct nested_page tpr;          /* the guest's own virtual-APIC page */
    struct nested_page msrs;         /* and its MSR bitmaps */
    hpa_t msr_bitmap;                /* what exits by those, or by Rootlet's */
    u16 msr_words[NESTED_MSR_WORDS]; /* where it may have a bit that is not set */
    u32 msr_word_count;
    bool merges_msrs;          /* the CPU uses it */
    bool exits_at_once;        /* the next entry is to deliver its event and no more */
    bool nmis_blocked;         /* in the guest hypervisor, when it entered the inner guest */
    bool inner_nmis_blocked;   /* with NMI exiting: none exits */
    bool trap_pending;         /* a monitor-trap-flag exit comes before the next instruction */
    bool debug_used;           /* as the guest's VMCS has it */
    bool inner_debug_used;     /* and as the one for inner guests does */
    u16 inner_vpid;            /* whose translations the CPU holds, as the guest hypervisor counts them; 0: nobody's */
    u64 timer_tsc;             /* when the inner guest's preemption timer runs out; UINT64_MAX: it has none */
    struct nested_level other; /* of the level that does not run */
    /* The exit that the guest hypervisor gets for an access of Rootlet's on behalf of its inner guest; 0: none. */
    u32 owed_reason;
    u64 owed_qualification;
    u64 owed_physical;
};

/* A vCPU begins; STATUS_NO_MEMORY. *frames: how many it takes. */
COLD enum status nested_create(struct vmx_vcpu *v, u32 *frames) MUST_CHECK;
COLD void nested_destroy(struct vmx_vcpu *v);
/* INIT, or a new start: out of VMX operation. */
COLD void nested_reset(struct vmx_vcpu *v);

/* The vCPU's CPU leaves it: no VMCS of it stays active there. */
COLD void nested_detach(struct vmx_vcpu *v);

static inline bool nested_is_inside(const struct vmx_vcpu *v)
{
    return v->nested && v->nested->inside;
}

static inline bool nested_is_on(const struct vmx_vcpu *v)
{
    return v->nested && v->nested->vmxon != NESTED_NONE;
}

/* The exits of the VMX instructions: #UD unless nested=on. */
enum outcome nested_exit(struct vmx_vcpu *v, struct trace_record *record);
/* Those of VMREAD and VMWRITE, of which there are many. */
enum outcome nested_access_exit(struct vmx_vcpu *v, struct trace_record *record);

/* What the guest has written into its shadow VMCS comes to v->nested->image, as by VMWRITEs that exit: mirror.c. */
void nested_collect(struct vmx_vcpu *v);

/* The inner guest's CPU shuts down: an exit of the guest hypervisor's. */
COLD enum outcome nested_shut_down(struct vmx_vcpu *v);

/* VMCALL that is no hypercall: what it is on a CPU, in VMX operation or outside. */
COLD enum outcome nested_refuse_vmcall(struct vmx_vcpu *v);

/* The guest's memory as VMX sees it: where none is, ones are read and nothing is written; nor to ROM. */
void nested_memory_read(const struct vmx_vcpu *v, u64 physical, void *to, u64 bytes);
void nested_memory_write(const struct vmx_vcpu *v, u64 physical, const void *from, u64 bytes);
/* The page at this address, which is looked for if it is another one than before; NULL as in struct nested_page. */
u8 *nested_find_page(const struct vmx_vcpu *v, struct nested_page *page, u64 physical);

/* IA32_FEATURE_CONTROL and the capability MSRs; false: the guest has no such MSR. */
COLD bool nested_read_msr(const struct vmx_vcpu *v, u32 index, u64 *value) MUST_CHECK;
/* Whether the guest may give CR0 or CR4 this value: what VMX operation fixes. SDM 3C 23.8 "Restrictions on VMX
 * Operation" */
COLD bool nested_allows_cr0(const struct vmx_vcpu *v, u64 value);
COLD bool nested_allows_cr4(const struct vmx_vcpu *v, u64 value);

#endif
