/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: hypercalls with wild arguments and wild numbers. Each must answer with one of the ABI's statuses, and an
 * unknown number with ROOTLET_ERROR_UNKNOWN. Left out are only calls that do what they promise: exit, a sleep
 * without end, and going back to a snapshot, which would never come to an end. Ends with status 0.
 */
#include "guests/lib/guest.h"

#define CALLS 5000u

static u32 answers[ROOTLET_ERROR_MEMORY + 1];

/* Mostly values at the edge of something. */
static u32 wild_value(void)
{
    static const u32 edges[] = {0,          1,          0xfff,      0x1000,     0x1001,
                                0x9ffff,    0xa0000,    0xfffff,    0x7fffffff, 0x80000000,
                                0xfffff000, 0xfffffff0, 0xffffffff, 0x100000u,  0xbffffffe};
    u32 choice = guest_random() % (ARRAY_LENGTH(edges) + 5);
    return choice < ARRAY_LENGTH(edges) ? edges[choice] : guest_random();
}

static bool does_as_it_promises(const struct hypercall *call)
{
    switch (call->eax) {
    case ROOTLET_CALL_EXIT:
    case ROOTLET_CALL_SLEEP_UNTIL:
    case ROOTLET_CALL_RESTORE:
        return true;
    case ROOTLET_CALL_CONSOLE_WRITE: /* would print the VM's own memory */
        return call->ecx == 0 && call->edx <= ROOTLET_CONSOLE_WRITE_MAX && call->edx > 0;
    case ROOTLET_CALL_START_VCPU:
        return call->ebx > 0 && call->ebx < 16;
    default:
        return false;
    }
}

static void check_answer(u32 number, u32 status)
{
    expect(status < ARRAY_LENGTH(answers), "a status that the ABI does not have");
    expect((status == ROOTLET_ERROR_UNKNOWN) == (number >= ROOTLET_CALL_COUNT), "UNKNOWN for the wrong numbers");
    answers[status]++;
}

int guest_main(void)
{
    expect(hypercall_present(), "no hypervisor in sight");
    print("wildcalls making %u wild calls\n", CALLS);
    for (u32 i = 0; i < CALLS; i++) {
        u32 number = guest_random() % 4 ? guest_random() % (ROOTLET_CALL_COUNT + 2) : wild_value();
        struct hypercall call = {number, wild_value(), wild_value(), wild_value()};
        if (!does_as_it_promises(&call))
            check_answer(number, hypercall(&call));
    }
    /* The one argument of sleep that returns at once. */
    expect(hypercall_sleep_until(1) == ROOTLET_OK, "sleep until a time in the past");
    print("wildcalls ok answered=%u unknown=%u argument=%u pointer=%u state=%u\n", answers[ROOTLET_OK],
          answers[ROOTLET_ERROR_UNKNOWN], answers[ROOTLET_ERROR_ARGUMENT], answers[ROOTLET_ERROR_POINTER],
          answers[ROOTLET_ERROR_STATE]);
    return 0;
}
