/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bench for device models: a bus, a set of timers, a clock that the test moves, and a line that counts its edges.
 * Each test program includes it once; it also stands in for the kernel's panic().
 */
#ifndef ROOTLET_TEST_FAKE_DEVICE_BENCH_H
#define ROOTLET_TEST_FAKE_DEVICE_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "kernel/vm/bus.h"
#include "kernel/vm/irq.h"
#include "kernel/panic.h"
#include "kernel/vm/vtimer.h"

#define SECOND_NS 1000000000ull

static struct {
    struct bus bus;
    struct vtimer_set timers;
    u64 now_ns;
    bool level;     /* of the line */
    unsigned rises; /* of the line, since bench_start */
} bench;

void panic(const char *format, ...)
{
    print_error("panic: %s\n", format);
    abort();
}

static inline u64 bench_clock(void *clock)
{
    (void)clock;
    return bench.now_ns;
}

static inline void bench_set_line(void *controller, u8 pin, bool level)
{
    (void)controller;
    (void)pin;
    bench.rises += level && !bench.level;
    bench.level = level;
}

static inline void bench_pulse_line(void *controller, u8 pin)
{
    bench_set_line(controller, pin, false);
    bench_set_line(controller, pin, true);
}

static inline struct line bench_line(void)
{
    return (struct line){bench_set_line, bench_pulse_line, NULL, 0};
}

static inline void bench_start(void)
{
    bench.now_ns = 0;
    bench.level = false;
    bench.rises = 0;
    bus_init(&bench.bus);
    vtimer_set_init(&bench.timers, bench_clock, NULL);
}

static inline u8 in(u16 port)
{
    return (u8)bus_read_port(&bench.bus, port, 1);
}

static inline void out(u16 port, u8 value)
{
    bus_write_port(&bench.bus, port, 1, value);
}

/* Moves time on; each timer fires exactly at its deadline. */
static inline void bench_run_until(u64 ns)
{
    while (bench.timers.next_ns <= ns) {
        bench.now_ns = bench.timers.next_ns;
        vtimer_run(&bench.timers, bench.now_ns);
        assert_true(bench.timers.next_ns > bench.now_ns);
    }
    bench.now_ns = ns;
}

/* Moves time on at once, as when the vCPU did not run: all that became due in between is late. */
static inline void bench_jump_to(u64 ns)
{
    bench.now_ns = ns;
    vtimer_run(&bench.timers, ns);
    assert_true(bench.timers.next_ns > ns);
}

#endif
