/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM-entry checker: which rules of SDM 3C chapter 26 "VM Entries" a VMCS breaks, and how the entry will fail. A
 * pure function of the fields' values, the capability MSRs and some facts about the CPU: it runs in the kernel, on the
 * host and under a fuzzer. What SDM 3C 26.1 "Basic VM-Entry Checks" asks (a current VMCS, its launch state) is the
 * caller's.
 */
#ifndef ROOTLET_VMX_CHECK_CHECK_H
#define ROOTLET_VMX_CHECK_CHECK_H

#include "vmx/caps.h"
#include "vmx/fields.h"

/* FIELD_x: the row of field x in VMCS_FIELDS. */
#define CHECK_DEFINE_ROW(name, code, width, access) FIELD_##name,
enum check_field { VMCS_FIELDS(CHECK_DEFINE_ROW) CHECK_FIELDS };

/* What the checks need to know of the CPU beyond struct vmx_caps. */
struct check_cpu {
    u8 physical_bits;      /* MAXPHYADDR, 32 to 52: CPUID.80000008H:EAX[7:0] */
    u8 linear_bits;        /* 48 or 57: CPUID.80000008H:EAX[15:8] */
    bool long_mode;        /* IA32_EFER.LMA at the VM entry */
    bool in_smm;           /* the VM entry is made in system-management mode */
    bool has_sgx;          /* CPUID.7:EBX[2] */
    bool has_rtm;          /* CPUID.7:EBX[11] */
    bool sti_blocks_nmi;   /* no NMI may be injected under blocking by STI: SDM 3C 26.3.1.5 leaves it to the CPU */
    u64 efer_valid;        /* bits of IA32_EFER that are not reserved */
    u64 debugctl_valid;    /* bits of IA32_DEBUGCTL that are not reserved */
    u64 perf_global_valid; /* bits of IA32_PERF_GLOBAL_CTRL that are not reserved */
    u64 vmcs_pointer;      /* physical address of the current VMCS */
};

#define CHECK_EFER_VALID 0xd01ull /* SCE, LME, LMA, NXE */

/*
 * Reads `bytes` bytes at a host-physical address; false if it cannot: the checks that need them are skipped, which the
 * result tells.
 */
typedef bool (*check_read_memory)(void *context, u64 physical, void *to, u32 bytes);

struct check_image {
    u64 value[CHECK_FIELDS]; /* by row; no bits above a field's width; 0 for a field that the CPU does not have */
    struct check_cpu cpu;
    u8 settled; /* CHECK_SETTLED_x: groups that are left out, since the caller knows that they break no rule */
    check_read_memory read_memory; /* NULL: every check that looks into memory is skipped */
    void *memory_context;
};

/* SDM 3C 26.2.1; 26.2.2 to 26.2.4; 26.3. The MSR-load area is always looked at. */
#define CHECK_SETTLED_CONTROLS 1u
#define CHECK_SETTLED_HOST     2u
#define CHECK_SETTLED_GUEST    4u
#define CHECK_SETTLED_ALL      7u

/* How the VM entry ends; in the order in which the CPU looks. SDM 3C 26.2, 26.3, 26.4, 26.7. */
enum check_outcome { CHECK_ENTERS, CHECK_FAILS_CONTROLS, CHECK_FAILS_HOST, CHECK_FAILS_GUEST, CHECK_FAILS_MSRS };

/* Checks that were not made for want of memory: bits of check_result.skipped. */
#define CHECK_SKIPPED_VTPR  1u /* the virtual-APIC page */
#define CHECK_SKIPPED_LINK  2u /* the VMCS that the link pointer names */
#define CHECK_SKIPPED_PDPTE 4u /* page-directory-pointer-table entries at the guest's CR3 */
#define CHECK_SKIPPED_MSRS  8u /* the VM-entry MSR-load area, or what of it lies beyond the recommended maximum */

struct check_result {
    u16 broken;        /* number of reports */
    u8 outcome;        /* enum check_outcome */
    u8 skipped;        /* CHECK_SKIPPED_x */
    u32 qualification; /* the exit qualification to expect: of the first broken rule of the outcome's class */
};

/* One broken rule. */
struct check_report {
    u16 rule;    /* index into the table of rules, below check_rules() */
    u16 field;   /* row of the field at fault */
    u16 because; /* 1 + index into vmx_control_rows() of the control that asks for it; 0: none */
    u16 entry;   /* a list's entry, counted from 1; 0: no list */
    u64 value;   /* the field's, or the list entry's (an MSR's index) */
    u64 bits;    /* those of `value` that are wrong; 0 where the value is wrong as a whole */
};

typedef void (*check_reporter)(void *context, const struct check_report *report);

/*
 * Checks everything, whatever else is broken, and calls `report` (which may be NULL) for each broken rule and field, in
 * the SDM's order. Bits above a field's width must be 0 in *image.
 */
struct check_result vmx_check_entry(const struct check_image *image, const struct vmx_caps *caps, check_reporter report,
                                    void *context);

/* A field of the table by row: its encoding for VMREAD, its width in bits, its name as in fields.h. */
u32 check_field_encoding(u32 row);
u32 check_field_bits(u32 row);
const char *check_field_name(u32 row);

/*
 * The kinds of fields, by encoding bits 11:10, in the order in which a reader wants them. SDM 3C 24.11.2 "VMREAD,
 * VMWRITE, and Encodings of VMCS Fields".
 */
#define CHECK_AREAS 4u
struct check_area {
    u8 type;
    const char *name;
};
extern const struct check_area check_areas[CHECK_AREAS];

/* True if a CPU with these capabilities has the field: SDM 3D Appendix B "Field Encoding in VMCS". */
bool check_field_exists(u32 row, const struct vmx_caps *caps);

/* The rules: how many; rule's words; "26.2.1.1 VM-Execution Control Fields"; the outcome of breaking it. */
u32 check_rules(void);
const char *check_rule_text(u32 rule);
const char *check_rule_section(u32 rule);
enum check_outcome check_rule_outcome(u32 rule);

/*
 * Format into buffer[size], cut where it does not fit (400 bytes do for nearly all); return the length.
 * check_format: field=GUEST_CR4 value=0x20 (bit 13 VMXE must be 1) rule="..." sdm="3C 26.3.1.1 Checks on ..."
 * check_format_value: the value decoded as a register of that field's kind, with `bits` as the bits at fault.
 * check_format_names: likewise without bits at fault, and of a control field the names of all controls that are 1.
 * check_format_result: the number of broken rules, the outcome in the SDM's words and what was skipped.
 */
size_t check_format(const struct check_report *report, char *buffer, size_t size);
size_t check_format_value(u32 row, u64 value, u64 bits, char *buffer, size_t size);
size_t check_format_names(u32 row, u64 value, char *buffer, size_t size);
size_t check_format_result(struct check_result result, char *buffer, size_t size);

#endif
