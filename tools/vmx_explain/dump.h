/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMCS as a text shows it: which of its fields, their values, where they stood, and what the text tells besides.
 */
#ifndef ROOTLET_TOOLS_EXPLAIN_DUMP_H
#define ROOTLET_TOOLS_EXPLAIN_DUMP_H

#include "tools/vmx_explain/words.h"
#include "vmx/check/check.h"

#define DUMP_STRANGE_MAX 64u
#define DUMP_MSRS_MAX    512u

enum dump_format {
    DUMP_NONE,
    DUMP_KVM,
    DUMP_XEN,
    DUMP_ROOTLET,
    DUMP_HAXM,
    DUMP_VIRTUALBOX,
    DUMP_NAMES,
    DUMP_ENCODINGS,
    DUMP_FORMATS
};

/* An entry of the VM-entry MSR-load area. */
struct dump_msr {
    u32 index;
    u64 value;
};

/* What was not understood: the words from `first` on, and why if that is known. */
struct dump_strange {
    u32 line;
    u32 first, words;
    const char *why;
};

struct dump {
    enum dump_format format;
    u32 dumps;  /* how many the text holds */
    u32 fields; /* how many fields this one has */
    u32 first;  /* the row that came first: if it comes again, another dump begins */
    bool has[CHECK_FIELDS];
    u64 value[CHECK_FIELDS];
    u32 line[CHECK_FIELDS];
    /* What the text around it tells of the failed entry; ~0: nothing. */
    u64 told_reason, told_error, told_qualification, told_entry;
    bool has_refused_msr;
    struct dump_msr refused_msr; /* that of the VM-entry MSR-load area which the CPU did not take */
    u32 msrs;
    bool has_msrs; /* the text shows the VM-entry MSR-load area */
    struct dump_msr msr[DUMP_MSRS_MAX];
    u32 strange_count; /* may be more than are kept */
    struct dump_strange strange[DUMP_STRANGE_MAX];
};

/* Finds the dump number `which` (from 1) and reads it; fields == 0 if there is none. */
void dump_parse(struct dump *dump, const struct words *words, u32 which);

const char *dump_format_name(enum dump_format format);

/*
 * Names of fields, as anybody spells them: without regard to case, order and marks between words, to VMCS, IA32, FIELD
 * and the like, and with the field's abbreviations. The words from `first` on, `count` of them. Returns the row, or
 * CHECK_FIELDS; *high: it is the upper half of a 64-bit field.
 */
u32 dump_field_by_name(const struct words *words, u32 first, u32 count, bool *high);
/* The row of an encoding, or CHECK_FIELDS; *high as above. SDM 3C 24.11.2 "VMREAD, VMWRITE, and Encodings of VMCS
 * Fields". */
u32 dump_field_by_encoding(u64 encoding, bool *high);

#endif
