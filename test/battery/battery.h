/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The battery of VM entries: what its files share. It is the hypervisor itself but for virt_vcpu_run(), which enters no
 * guest to run it, but the first VM's VMCS thousands of times, each time with something changed.
 */
#ifndef ROOTLET_TEST_BATTERY_H
#define ROOTLET_TEST_BATTERY_H

#include "vmx/check/explain.h"

/* enter.asm */
u32 battery_enter(u32 launched);
u32 battery_enter_blocked(void);
extern const u8 battery_exit[];

/* baselines.c: VMCSs to begin with, all of which enter. */
struct battery_baseline {
    const char *name;
    void (*set)(void); /* what it changes in the VMCS as vmx/vcpu.c wrote it */
    const u8 *rows;    /* the fields that are changed one at a time: a list ended by CHECK_FIELDS; NULL: all */
    u32 proc2;         /* secondary controls without which the CPU cannot have it */
};
/* Stands for the guest's area and the controls of the entry: where only the guest differs from another baseline. */
extern const u8 battery_guest_rows[];
extern const struct battery_baseline battery_baselines[];
extern const u32 battery_baseline_count;
/* Once, before any of them. */
void battery_prepare_pages(void);
/* The physical address of a valid MSR list of three entries; of anything in the image. */
u64 battery_msr_list(void);
u64 battery_physical(const void *pointer);

/*
 * values.c: values to try in a field; at most BATTERY_VALUES, none twice, none equal to `base`. Returns how many. With
 * `all` repeated ones stay, so that their number does not depend on `base`.
 */
#define BATTERY_VALUES 600u
u32 battery_values(u32 row, u64 base, u32 physical_bits, bool all, u64 *values);
/* values[i] is `base`, or stands before i, too. */
bool battery_is_repeated(const u64 *values, u32 i, u64 base);

/* report.c: the verdict of a case, at most two characters; what has not been written yet. */
void battery_report(u32 number, u32 step, const char *verdict);
void battery_report_flush(void);
/* Anything else that is to be told there. */
void battery_report_line(const char *text);

/* battery.c: an entry of the VMCS as it is; what the exit left changed is put back by battery_restore(). */
void battery_restore(void);
u32 battery_try(u32 launched);

/* tour.c */
void battery_tour(struct vmx_vcpu *v);

/* Writes a field by its row. */
static inline void battery_write(u32 row, u64 value)
{
    vmcs_write_raw(check_field_encoding(row), value);
}

#endif
