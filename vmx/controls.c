/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of VMX controls and its resolver. Pure: host tests link it as it is.
 * SDM 3C 24.6 to 24.8; 3D A.3 to A.5 for what the capability MSRs mean; 31.5.1 "Algorithms for Determining VMX
 * Capabilities".
 */
#include "vmx/controls.h"

static const char *const group_names[VMX_GROUPS] = {"pin-based", "primary processor-based", "secondary processor-based",
                                                    "VM-exit", "VM-entry"};

/*
 * REQUIRED: set, or no VM can run. REQUIRED_AVAILABLE: must be settable, but begins as 0. OPTIONAL: set where
 * available. SWITCHED: begins as 0, and is turned on and off where available (apicv.c, which needs them all but the
 * posted interrupts and VMCS shadowing, so that one of them carries their feature's name). TOLERATED: we leave it 0,
 * but handle its exits where the CPU insists on 1. FORBIDDEN: must be 0.
 */
static const struct vmx_control_row rows[] = {
    {VMX_PIN,   VMX_REQUIRED,           PIN_EXTERNAL_INTERRUPT_EXITING, "external-interrupt exiting",          NULL               },
    {VMX_PIN,   VMX_REQUIRED,           PIN_NMI_EXITING,                "NMI exiting",                         NULL               },
    {VMX_PIN,   VMX_REQUIRED,           PIN_VIRTUAL_NMIS,               "virtual NMIs",                        NULL               },
    {VMX_PIN,   VMX_OPTIONAL,           PIN_PREEMPTION_TIMER,           "VMX-preemption timer",                "preemption-timer" },
    {VMX_PIN,   VMX_SWITCHED,           PIN_POSTED_INTERRUPTS,          "process posted interrupts",           "posted-interrupts"},
    {VMX_PROC,  VMX_REQUIRED_AVAILABLE, PROC_INTERRUPT_WINDOW,          "interrupt-window exiting",            NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_TSC_OFFSETTING,            "use TSC offsetting",                  NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_HLT_EXITING,               "HLT exiting",                         NULL               },
    {VMX_PROC,  VMX_FORBIDDEN,          PROC_INVLPG_EXITING,            "INVLPG exiting",                      NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_MWAIT_EXITING,             "MWAIT exiting",                       NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_RDPMC_EXITING,             "RDPMC exiting",                       NULL               },
    {VMX_PROC,  VMX_FORBIDDEN,          PROC_RDTSC_EXITING,             "RDTSC exiting",                       NULL               },
    {VMX_PROC,  VMX_TOLERATED,          PROC_CR3_LOAD_EXITING,          "CR3-load exiting",                    NULL               },
    {VMX_PROC,  VMX_TOLERATED,          PROC_CR3_STORE_EXITING,         "CR3-store exiting",                   NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_CR8_LOAD_EXITING,          "CR8-load exiting",                    NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_CR8_STORE_EXITING,         "CR8-store exiting",                   NULL               },
    {VMX_PROC,  VMX_SWITCHED,           PROC_TPR_SHADOW,                "use TPR shadow",                      "apicv"            },
    {VMX_PROC,  VMX_REQUIRED_AVAILABLE, PROC_NMI_WINDOW,                "NMI-window exiting",                  NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_MOV_DR_EXITING,            "MOV-DR exiting",                      NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_UNCONDITIONAL_IO,          "unconditional I/O exiting",           NULL               },
    {VMX_PROC,  VMX_OPTIONAL,           PROC_IO_BITMAPS,                "use I/O bitmaps",                     "io-bitmap"        },
    {VMX_PROC,  VMX_FORBIDDEN,          PROC_MONITOR_TRAP_FLAG,         "monitor trap flag",                   NULL               },
    {VMX_PROC,  VMX_OPTIONAL,           PROC_MSR_BITMAPS,               "use MSR bitmaps",                     "msr-bitmap"       },
    {VMX_PROC,  VMX_REQUIRED,           PROC_MONITOR_EXITING,           "MONITOR exiting",                     NULL               },
    {VMX_PROC,  VMX_FORBIDDEN,          PROC_PAUSE_EXITING,             "PAUSE exiting",                       NULL               },
    {VMX_PROC,  VMX_REQUIRED,           PROC_SECONDARY,                 "activate secondary controls",         NULL               },
    {VMX_PROC2, VMX_SWITCHED,           PROC2_APIC_ACCESSES,            "virtualize APIC accesses",            NULL               },
    {VMX_PROC2, VMX_REQUIRED,           PROC2_EPT,                      "enable EPT",                          NULL               },
    {VMX_PROC2, VMX_FORBIDDEN,          PROC2_DESCRIPTOR_TABLE,         "descriptor-table exiting",            NULL               },
    {VMX_PROC2, VMX_OPTIONAL,           PROC2_RDTSCP,                   "enable RDTSCP",                       "rdtscp"           },
    {VMX_PROC2, VMX_SWITCHED,           PROC2_X2APIC_MODE,              "virtualize x2APIC mode",              NULL               },
    {VMX_PROC2, VMX_OPTIONAL,           PROC2_VPID,                     "enable VPID",                         "vpid"             },
    {VMX_PROC2, VMX_OPTIONAL,           PROC2_WBINVD_EXITING,           "WBINVD exiting",                      "wbinvd-exiting"   },
    {VMX_PROC2, VMX_REQUIRED,           PROC2_UNRESTRICTED_GUEST,       "unrestricted guest",                  NULL               },
    {VMX_PROC2, VMX_SWITCHED,           PROC2_APIC_REGISTERS,           "APIC-register virtualization",        NULL               },
    {VMX_PROC2, VMX_SWITCHED,           PROC2_VIRTUAL_INTERRUPTS,       "virtual-interrupt delivery",          NULL               },
    {VMX_PROC2, VMX_OPTIONAL,           PROC2_PAUSE_LOOP_EXITING,       "PAUSE-loop exiting",                  "pause-loops"      },
    {VMX_PROC2, VMX_FORBIDDEN,          PROC2_RDRAND_EXITING,           "RDRAND exiting",                      NULL               },
    {VMX_PROC2, VMX_OPTIONAL,           PROC2_INVPCID,                  "enable INVPCID",                      "invpcid"          },
    {VMX_PROC2, VMX_FORBIDDEN,          PROC2_VMFUNC,                   "enable VM functions",                 NULL               },
    {VMX_PROC2, VMX_SWITCHED,           PROC2_VMCS_SHADOWING,           "VMCS shadowing",                      "vmcs-shadowing"   },
    {VMX_PROC2, VMX_FORBIDDEN,          PROC2_RDSEED_EXITING,           "RDSEED exiting",                      NULL               },
    {VMX_PROC2, VMX_FORBIDDEN,          PROC2_PML,                      "enable PML",                          NULL               },
    {VMX_PROC2, VMX_FORBIDDEN,          PROC2_EPT_VE,                   "EPT-violation #VE",                   NULL               },
    {VMX_PROC2, VMX_OPTIONAL,           PROC2_XSAVES,                   "enable XSAVES/XRSTORS",               "xsaves"           },
    {VMX_PROC2, VMX_FORBIDDEN,          PROC2_TSC_SCALING,              "use TSC scaling",                     NULL               },
    {VMX_EXIT,  VMX_REQUIRED,           EXIT_SAVE_DEBUG,                "save debug controls",                 NULL               },
    {VMX_EXIT,  VMX_REQUIRED,           EXIT_HOST_ADDRESS_SPACE,        "host address-space size",             NULL               },
    {VMX_EXIT,  VMX_FORBIDDEN,          EXIT_LOAD_PERF_GLOBAL,          "load IA32_PERF_GLOBAL_CTRL",          NULL               },
    {VMX_EXIT,  VMX_REQUIRED,           EXIT_ACKNOWLEDGE,               "acknowledge interrupt on exit",       NULL               },
    {VMX_EXIT,  VMX_REQUIRED,           EXIT_SAVE_PAT,                  "save IA32_PAT",                       NULL               },
    {VMX_EXIT,  VMX_REQUIRED,           EXIT_LOAD_PAT,                  "load IA32_PAT on exit",               NULL               },
    {VMX_EXIT,  VMX_REQUIRED,           EXIT_SAVE_EFER,                 "save IA32_EFER",                      NULL               },
    {VMX_EXIT,  VMX_REQUIRED,           EXIT_LOAD_EFER,                 "load IA32_EFER on exit",              NULL               },
    {VMX_EXIT,  VMX_FORBIDDEN,          EXIT_SAVE_TIMER,                "save VMX-preemption timer value",     NULL               },
    {VMX_ENTRY, VMX_REQUIRED,           ENTRY_LOAD_DEBUG,               "load debug controls",                 NULL               },
    {VMX_ENTRY, VMX_REQUIRED_AVAILABLE, ENTRY_IA32E_GUEST,              "IA-32e mode guest",                   NULL               },
    {VMX_ENTRY, VMX_FORBIDDEN,          ENTRY_SMM,                      "entry to SMM",                        NULL               },
    {VMX_ENTRY, VMX_FORBIDDEN,          ENTRY_DEACTIVATE_DUAL,          "deactivate dual-monitor treatment",   NULL               },
    {VMX_ENTRY, VMX_FORBIDDEN,          ENTRY_LOAD_PERF_GLOBAL,         "load IA32_PERF_GLOBAL_CTRL on entry", NULL               },
    {VMX_ENTRY, VMX_REQUIRED,           ENTRY_LOAD_PAT,                 "load IA32_PAT on entry",              NULL               },
    {VMX_ENTRY, VMX_REQUIRED,           ENTRY_LOAD_EFER,                "load IA32_EFER on entry",             NULL               },
};

/* The default1 class as it was at first; what has a name by now is in the table as well. */
static const u32 default_one[VMX_GROUPS] = {0x00000016, 0x0401e172, 0, 0x00036dff, 0x000011ff};

const struct vmx_control_row *vmx_control_rows(size_t *count)
{
    *count = ARRAY_SIZE(rows);
    return rows;
}

u32 vmx_controls_default_one(enum vmx_group group)
{
    return default_one[group];
}

const char *vmx_controls_group_name(enum vmx_group group)
{
    return group_names[group];
}

/* It belongs to another feature than apicv. */
static bool is_of_its_own(const struct vmx_control_row *row)
{
    return row->group == VMX_PIN || (row->group == VMX_PROC2 && row->bit == PROC2_VMCS_SHADOWING);
}

bool vmx_controls_have_apicv(const struct vmx_caps *caps)
{
    const struct vmx_allowed *proc = &caps->group[VMX_PROC];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].need == VMX_SWITCHED && !is_of_its_own(&rows[i]) &&
            !(caps->group[rows[i].group].may_be_one & rows[i].bit))
            return false;
    return proc->may_be_one & PROC_MSR_BITMAPS &&
           !(proc->must_be_one & (PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING));
}

bool vmx_controls_have_posted(const struct vmx_caps *caps)
{
    return vmx_controls_have_apicv(caps) && caps->group[VMX_PIN].may_be_one & PIN_POSTED_INTERRUPTS;
}

/* Exit information is put into the shadow VMCS by VMWRITE: IA32_VMX_MISC[29]. So is the value of the VMX-preemption
 * timer, a field that a CPU without one does not have. SDM 3D A.6 "Miscellaneous Data" */
bool vmx_controls_have_shadowing(const struct vmx_caps *caps)
{
    return caps->group[VMX_PROC2].may_be_one & PROC2_VMCS_SHADOWING && caps->misc & BIT(29) &&
           caps->group[VMX_PIN].may_be_one & PIN_PREEMPTION_TIMER;
}

bool vmx_controls_are_switched(const struct vmx_caps *caps, const struct vmx_control_row *row)
{
    if (row->need != VMX_SWITCHED)
        return row->need == VMX_REQUIRED_AVAILABLE;
    if (!is_of_its_own(row))
        return vmx_controls_have_apicv(caps);
    return row->group == VMX_PIN ? vmx_controls_have_posted(caps) : vmx_controls_have_shadowing(caps);
}

static enum status apply_row(const struct vmx_control_row *row, const struct vmx_allowed *allowed, u32 *value,
                             struct refusal *why)
{
    bool available = allowed->may_be_one & row->bit;
    bool insisted = allowed->must_be_one & row->bit;

    if (available && (row->need == VMX_REQUIRED || row->need == VMX_OPTIONAL))
        *value |= row->bit;
    if ((row->need == VMX_REQUIRED || row->need == VMX_REQUIRED_AVAILABLE) && !available)
        return refuse(why, STATUS_UNSUPPORTED, "this CPU lacks the %s control '%s', which every VM needs",
                      group_names[row->group], row->name);
    if ((row->need == VMX_FORBIDDEN || row->need == VMX_REQUIRED_AVAILABLE || row->need == VMX_SWITCHED) && insisted)
        return refuse(why, STATUS_INVALID, "this CPU insists on the %s control '%s', which Rootlet cannot have on",
                      group_names[row->group], row->name);
    return STATUS_OK;
}

enum status vmx_controls_resolve(const struct vmx_caps *caps, struct vmx_controls *out, struct refusal *why)
{
    u32 known[VMX_GROUPS];
    enum status status = STATUS_OK;

    for (unsigned g = 0; g < VMX_GROUPS; g++) {
        out->value[g] = caps->group[g].must_be_one;
        known[g] = default_one[g];
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned g = rows[i].group;
        known[g] |= rows[i].bit;
        enum status row = apply_row(&rows[i], &caps->group[g], &out->value[g], status == STATUS_OK ? why : NULL);
        status = status == STATUS_OK ? row : status;
    }
    for (unsigned g = 0; g < VMX_GROUPS; g++) {
        u32 unknown = caps->group[g].must_be_one & ~known[g];
        if (unknown && status == STATUS_OK)
            status = refuse(why, STATUS_INVALID, "this CPU insists on %s controls 0x%x, which Rootlet does not know",
                            group_names[g], unknown);
    }
    return status;
}
