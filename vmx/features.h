/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What of VMX this machine has and Rootlet uses: resolved once, from the capability MSRs and the options, by virt_init.
 */
#ifndef ROOTLET_VMX_FEATURES_H
#define ROOTLET_VMX_FEATURES_H

#include "arch/x86/speculation.h"
#include "kernel/lib/addr.h"
#include "vmx/caps.h"
#include "vmx/controls.h"

/* Constant after virt_init. */
struct vmx_features {
    struct vmx_caps caps;
    struct vmx_controls controls;
    hpa_t msr_bitmap;
    hpa_t io_bitmaps;       /* two frames */
    hpa_t x2apic_bitmap;    /* the MSR bitmap of a vCPU whose x2APIC the CPU virtualises */
    hpa_t vmcs_bitmaps;     /* two frames: which VMREADs and VMWRITEs of a guest hypervisor exit */
    hpa_t apic_access_page; /* stands for the local APIC in EPTs; nobody reads or writes it */
    u32 timer_shift;
    bool has_timer;
    bool has_vpid;
    bool has_apicv;            /* all that apicv.c needs */
    bool has_posted;           /* and posted interrupts */
    bool has_shadowing;        /* VMCS shadowing: nested/mirror.c */
    bool fetch_small;          /* guests run code in pages of 4 KiB only */
    bool mitigates;            /* mitigations=auto */
    bool switches_speculation; /* vmx_speculation_switch() has something to do */
    struct speculation speculation;
    bool spoils_entries;     /* virt_spoil_entries() */
    bool spoils_cpus;        /* virt_spoil_cpus() */
    u64 guest_cr4_allowed;   /* bits that a guest may set */
    u32 guest_physical_bits; /* width of a guest's physical addresses, as its CPUID says */
    u32 xsave_bytes;
    const char *disabled; /* vmx.disable= */
    char withheld[40];    /* likewise, of what the CPU gets wrong */
};
extern struct vmx_features vmx_features;

#endif
