/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exits that take long or come often, and vCPUs that only compete.
 */
#include "guests/hostile/hostile.h"

#define FLOOD_BYTES    4096u
#define STRING_BYTES   256u
#define MSR_MTRR_BASE0 0x200u
#define NOWHERE        0xd0000000u
#define LAYER_BASE     0x400000u /* mem=16M */
#define LAYER_PAGES    3000u

static u8 newlines[FLOOD_BYTES];
static u8 string[STRING_BYTES];

static void flood(u32 self)
{
    u32 written;

    (void)self;
    while (!hostile_is_over())
        hypercall_console_write((u32)newlines, FLOOD_BYTES, &written);
    hypercall_exit(0);
}

static void uart(u32 self)
{
    (void)self;
    while (!hostile_is_over())
        cpu_out8(ROOTLET_PORT_UART, '\n');
    hypercall_exit(0);
}

/* 256 newlines in one instruction. */
static void strings(u32 self)
{
    (void)self;
    while (!hostile_is_over()) {
        const void *from = string;
        u32 count = STRING_BYTES;
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(ROOTLET_PORT_UART) : "memory");
    }
    hypercall_exit(0);
}

static void mtrr(u32 self)
{
    (void)self;
    for (u32 i = 0; !hostile_is_over(); i++)
        write_msr(MSR_MTRR_BASE0 + i % 8 * 2, (u64)i << 12 & 0xffffff000ull);
    hypercall_exit(0);
}

/* Each kind of cheap exit, at least once: the time may be over before a busy CPU comes to this vCPU. */
static void exits(u32 self)
{
    (void)self;
    do {
        cpu_cpuid(0, 0);
        cpu_out8(ROOTLET_PORT_DMA_PAGES, 0);
        *(volatile u32 *)NOWHERE = 0;
        cpu_write_cr4(cpu_read_cr4());
        cpu_write_cr0(cpu_read_cr0());
        __asm__ volatile("wbinvd");
    } while (!hostile_is_over());
    hypercall_exit(0);
}

static void yields(u32 self)
{
    (void)self;
    while (!hostile_is_over())
        hypercall_yield();
    hypercall_exit(0);
}

static void pauses(u32 self)
{
    (void)self;
    while (!hostile_is_over())
        for (u32 i = 0; i < 10000; i++)
            cpu_pause();
    hypercall_exit(0);
}

/* One instruction that copies from nothing to nothing, device memory on both sides. */
static void copies(u32 self)
{
    (void)self;
    do {
        u32 from = NOWHERE, to = NOWHERE + 0x100000, count = 1000;
        __asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    } while (!hostile_is_over());
    hypercall_exit(0);
}

/* Goes back to each snapshot once, if no other vCPU is about to, and takes the next. */
static void rewinds(u32 self)
{
    (void)self;
    while (!hostile_is_over()) {
        struct hypercall call = {ROOTLET_CALL_SNAPSHOT, 0, 0, 0};
        if (hypercall(&call) != ROOTLET_OK || call.ebx)
            continue;
        call.eax = ROOTLET_CALL_RESTORE;
        hypercall(&call);
    }
    hypercall_exit(0);
}

/*
 * Writes thousands of pages after each snapshot: the first time it goes back, and then it takes the next, so that what
 * the last two have is joined.
 */
static void layers(u32 self)
{
    (void)self;
    while (!hostile_is_over()) {
        struct hypercall call = {ROOTLET_CALL_SNAPSHOT, 0, 0, 0};
        if (hypercall(&call) != ROOTLET_OK)
            continue;
        for (u32 page = 0; page < LAYER_PAGES; page++)
            *(volatile u32 *)(LAYER_BASE + page * 4096u) = page;
        if (call.ebx)
            continue;
        call.eax = ROOTLET_CALL_RESTORE;
        hypercall(&call);
    }
    hypercall_exit(0);
}

/*
 * Of what a snapshot keeps, each second page is written again behind it: where the two are joined, their frames become
 * free one by one.
 */
static void holes(u32 self)
{
    (void)self;
    while (!hostile_is_over())
        for (u32 step = 1; step <= 2; step++) {
            struct hypercall call = {ROOTLET_CALL_SNAPSHOT, 0, 0, 0};
            hypercall(&call);
            for (u32 page = 0; page < LAYER_PAGES && !hostile_is_over(); page += step)
                *(volatile u32 *)(LAYER_BASE + page * 4096u) = page;
        }
    hypercall_exit(0);
}

void hostile_storm(void);

static void storm(u32 self)
{
    (void)self;
    while (!hostile_is_over())
        hostile_storm();
    hypercall_exit(0);
}

static void prepare(void)
{
    for (u32 i = 0; i < FLOOD_BYTES; i++)
        newlines[i] = '\n';
    for (u32 i = 0; i < STRING_BYTES; i++)
        string[i] = '\n';
}

static void prepare_storm(void)
{
    interrupts_set_gate(1, hostile_nmi);
}

#define EACH(name)                                                                                                     \
    static void first_##name(void)                                                                                     \
    {                                                                                                                  \
        name(0);                                                                                                       \
    }
EACH(flood)
EACH(uart)
EACH(strings)
EACH(mtrr)
EACH(exits)
EACH(yields)
EACH(pauses)
EACH(copies)
EACH(rewinds)
EACH(layers)
EACH(holes)
EACH(storm)

const struct attack hostile_exits[] = {
    {"flood",   prepare,       first_flood,   flood  },
    {"uart",    NULL,          first_uart,    uart   },
    {"strings", prepare,       first_strings, strings},
    {"mtrr",    NULL,          first_mtrr,    mtrr   },
    {"exits",   NULL,          first_exits,   exits  },
    {"yields",  NULL,          first_yields,  yields },
    {"pauses",  NULL,          first_pauses,  pauses },
    {"copies",  NULL,          first_copies,  copies },
    {"rewinds", NULL,          first_rewinds, rewinds},
    {"layers",  NULL,          first_layers,  layers },
    {"holes",   NULL,          first_holes,   holes  },
    {"storm",   prepare_storm, first_storm,   storm  },
    {NULL,      NULL,          NULL,          NULL   },
};
