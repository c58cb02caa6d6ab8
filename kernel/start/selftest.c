/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See selftest.h. A word that is none of those below goes to traps_provoke(), which has the exceptions.
 */
#include "kernel/start/selftest.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "arch/x86/traps.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/start/life.h"
#include "kernel/start/vms.h"
#include "kernel/machine_check.h"
#include "kernel/panic.h"
#include "kernel/virt.h"

#define MACHINE_CHECK_NS 5000000000ull
#define TSC_SKEW_NS      5000000ull

static bool enters_again, panics_at_end;

static void enter_vmx_again(void)
{
    enters_again = true;
}

static void panic_at_end(void)
{
    panics_at_end = true;
}

/* Time for an emulator's monitor to raise some; looks as the scheduler would. */
static void await_machine_check(void)
{
    u64 end = cpu_tsc() + clock_tsc_from_ns(MACHINE_CHECK_NS);

    log_event("test machine-check waits");
    for (u64 now = cpu_tsc(); now < end; now = cpu_tsc()) {
        machine_check_look(now);
        console_flush();
    }
}

struct selftest_cpus selftest_before_cpus(const char *word)
{
    bool stuck = string_equal(word, "tsc-stuck");
    bool skewed = stuck || string_equal(word, "tsc-skew");

    if (string_equal(word, "cpu-differs"))
        virt_spoil_cpus();
    return (struct selftest_cpus){skewed ? (s64)clock_tsc_from_ns(TSC_SKEW_NS) : 0, stuck};
}

static void it_is_done(void) {}

static const struct {
    const char *word;
    void (*begin)(void);
} tests[] = {
    {"vmx-again",       enter_vmx_again     },
    {"panic-at-end",    panic_at_end        },
    {"bad-entry",       virt_spoil_entries  },
    {"machine-check",   await_machine_check },
    {"restart-at-once", life_restart_at_once},
    {"cpu-differs",     it_is_done          },
    {"tsc-skew",        it_is_done          },
    {"tsc-stuck",       it_is_done          },
};

void selftest_begin(const char *word)
{
    if (!word[0])
        return;
    for (u32 i = 0; i < ARRAY_SIZE(tests); i++) {
        if (string_equal(word, tests[i].word)) {
            tests[i].begin();
            return;
        }
    }
    if (!traps_provoke(word)) {
        log_error("test=%s: no such test, or nothing stopped it", word);
        vms_note_failure();
    }
}

/* VMX operation can be entered again after VMXOFF. */
void selftest_after_vmxoff(void)
{
    struct refusal why;

    if (!enters_again)
        return;
    if (virt_cpu_enter(&why) != STATUS_OK) {
        log_error("cpu id=%u cannot enter VMX operation again: %s", cpu_id(), why.text);
        vms_note_failure();
        return;
    }
    virt_cpu_leave();
    log_event("vmx again=ok cpu=%u", cpu_id());
}

void selftest_at_end(void)
{
    if (panics_at_end)
        panic("test=panic-at-end");
}
