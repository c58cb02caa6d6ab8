/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which fields of the VMCS a CPU has. SDM 3D Appendix B "Field Encoding in VMCS": its notes name, for each field that
 * is not everywhere, the control whose 1-setting the CPU must support. Pure.
 */
#include "vmx/check/rules.h"

#define ENTRY_LOAD_BNDCFGS 0x00010000u
#define EXIT_CLEAR_BNDCFGS 0x00800000u
#define PROC2_ENCLS        0x00008000u

/* By field. One that stands in several rows exists if one of them holds; a field in no row always exists. */
static const struct {
    u8 first, last;
    u8 group;
    u32 control;
} needs[] EXPLAIN = {
    {FIELD_VPID,                        FIELD_VPID,                        VMX_PROC2, PROC2_VPID              },
    {FIELD_POSTED_INTERRUPT_VECTOR,     FIELD_POSTED_INTERRUPT_VECTOR,     VMX_PIN,   PIN_POSTED_INTERRUPTS   },
    {FIELD_EPTP_INDEX,                  FIELD_EPTP_INDEX,                  VMX_PROC2, PROC2_EPT_VE            },
    {FIELD_GUEST_INTERRUPT_STATUS,      FIELD_GUEST_INTERRUPT_STATUS,      VMX_PROC2, PROC2_VIRTUAL_INTERRUPTS},
    {FIELD_PML_INDEX,                   FIELD_PML_INDEX,                   VMX_PROC2, PROC2_PML               },
    {FIELD_MSR_BITMAPS,                 FIELD_MSR_BITMAPS,                 VMX_PROC,  PROC_MSR_BITMAPS        },
    {FIELD_PML_ADDRESS,                 FIELD_PML_ADDRESS,                 VMX_PROC2, PROC2_PML               },
    {FIELD_VIRTUAL_APIC_ADDRESS,        FIELD_VIRTUAL_APIC_ADDRESS,        VMX_PROC,  PROC_TPR_SHADOW         },
    {FIELD_APIC_ACCESS_ADDRESS,         FIELD_APIC_ACCESS_ADDRESS,         VMX_PROC2, PROC2_APIC_ACCESSES     },
    {FIELD_POSTED_INTERRUPT_DESCRIPTOR, FIELD_POSTED_INTERRUPT_DESCRIPTOR, VMX_PIN,   PIN_POSTED_INTERRUPTS   },
    {FIELD_VM_FUNCTION_CONTROLS,        FIELD_VM_FUNCTION_CONTROLS,        VMX_PROC2, PROC2_VMFUNC            },
    {FIELD_EPT_POINTER,                 FIELD_EPT_POINTER,                 VMX_PROC2, PROC2_EPT               },
    {FIELD_EOI_EXIT_BITMAP_0,           FIELD_EOI_EXIT_BITMAP_3,           VMX_PROC2, PROC2_VIRTUAL_INTERRUPTS},
    {FIELD_EPTP_LIST_ADDRESS,           FIELD_EPTP_LIST_ADDRESS,           VMX_PROC2, PROC2_VMFUNC            },
    {FIELD_VMREAD_BITMAP,               FIELD_VMWRITE_BITMAP,              VMX_PROC2, PROC2_VMCS_SHADOWING    },
    {FIELD_VE_INFORMATION_ADDRESS,      FIELD_VE_INFORMATION_ADDRESS,      VMX_PROC2, PROC2_EPT_VE            },
    {FIELD_XSS_EXITING_BITMAP,          FIELD_XSS_EXITING_BITMAP,          VMX_PROC2, PROC2_XSAVES            },
    {FIELD_ENCLS_EXITING_BITMAP,        FIELD_ENCLS_EXITING_BITMAP,        VMX_PROC2, PROC2_ENCLS             },
    {FIELD_TSC_MULTIPLIER,              FIELD_TSC_MULTIPLIER,              VMX_PROC2, PROC2_TSC_SCALING       },
    {FIELD_GUEST_PHYSICAL_ADDRESS,      FIELD_GUEST_PHYSICAL_ADDRESS,      VMX_PROC2, PROC2_EPT               },
    {FIELD_GUEST_PAT,                   FIELD_GUEST_PAT,                   VMX_ENTRY, ENTRY_LOAD_PAT          },
    {FIELD_GUEST_PAT,                   FIELD_GUEST_PAT,                   VMX_EXIT,  EXIT_SAVE_PAT           },
    {FIELD_GUEST_EFER,                  FIELD_GUEST_EFER,                  VMX_ENTRY, ENTRY_LOAD_EFER         },
    {FIELD_GUEST_EFER,                  FIELD_GUEST_EFER,                  VMX_EXIT,  EXIT_SAVE_EFER          },
    {FIELD_GUEST_PERF_GLOBAL_CTRL,      FIELD_GUEST_PERF_GLOBAL_CTRL,      VMX_ENTRY, ENTRY_LOAD_PERF_GLOBAL  },
    {FIELD_GUEST_PDPTE0,                FIELD_GUEST_PDPTE3,                VMX_PROC2, PROC2_EPT               },
    {FIELD_GUEST_BNDCFGS,               FIELD_GUEST_BNDCFGS,               VMX_ENTRY, ENTRY_LOAD_BNDCFGS      },
    {FIELD_GUEST_BNDCFGS,               FIELD_GUEST_BNDCFGS,               VMX_EXIT,  EXIT_CLEAR_BNDCFGS      },
    {FIELD_HOST_PAT,                    FIELD_HOST_PAT,                    VMX_EXIT,  EXIT_LOAD_PAT           },
    {FIELD_HOST_EFER,                   FIELD_HOST_EFER,                   VMX_EXIT,  EXIT_LOAD_EFER          },
    {FIELD_HOST_PERF_GLOBAL_CTRL,       FIELD_HOST_PERF_GLOBAL_CTRL,       VMX_EXIT,  EXIT_LOAD_PERF_GLOBAL   },
    {FIELD_TPR_THRESHOLD,               FIELD_TPR_THRESHOLD,               VMX_PROC,  PROC_TPR_SHADOW         },
    {FIELD_PROC2_CONTROLS,              FIELD_PROC2_CONTROLS,              VMX_PROC,  PROC_SECONDARY          },
    {FIELD_PLE_GAP,                     FIELD_PLE_WINDOW,                  VMX_PROC2, PROC2_PAUSE_LOOP_EXITING},
    {FIELD_PREEMPTION_TIMER_VALUE,      FIELD_PREEMPTION_TIMER_VALUE,      VMX_PIN,   PIN_PREEMPTION_TIMER    },
};

bool check_field_exists(u32 row, const struct vmx_caps *caps)
{
    bool exists = true;

    for (u32 i = 0; i < ARRAY_SIZE(needs); i++) {
        if (row < needs[i].first)
            break;
        if (row > needs[i].last)
            continue;
        if (caps->group[needs[i].group].may_be_one & needs[i].control)
            return true;
        exists = false;
    }
    return exists;
}
