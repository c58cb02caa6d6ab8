/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flight recorder: rings that wrap, the last records of a VM over all CPUs in the order of time, and the text form
 * that tools/trace reads (docs/trace.md).
 *
 * links: kernel/trace/trace.c kernel/trace/text.c kernel/lib/string.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/frames.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

#define CPUS 2u

static struct cpu_local locals[CPUS];
static char lines[4096][TRACE_LINE_BYTES];
static u32 line_count;
static struct vm vm[2];
static struct vcpu vcpus[2];

struct cpu_local *cpu_local_of(u32 id)
{
    return &locals[id];
}

u32 smp_cpu_count(void)
{
    return CPUS;
}

u64 clock_tsc_hz(void)
{
    return 50000000;
}

const char *virt_exit_name(u32 reason)
{
    return reason == 10 ? "cpuid" : reason == 1 ? "external-interrupt" : "other";
}

const char *virt_exit_detail(u32 reason)
{
    return reason == 10 ? "leaf" : reason == 1 ? "info" : reason == 48 ? "address" : NULL;
}

const char *vm_stop_reason_name(enum vm_stop_reason reason)
{
    return reason == VM_STOP_TRIPLE_FAULT ? "triple-fault" : "other";
}

static bool out_of_memory;

enum status frames_allocate(u64 count, u64 align_frames, hpa_t *out)
{
    static u8 memory[CPUS][256 * 1024] __attribute__((aligned(256 * 1024)));
    static u32 next;

    if (out_of_memory)
        return STATUS_NO_MEMORY;
    assert_true(align_frames * FRAME_BYTES <= sizeof memory[0] && count * FRAME_BYTES <= sizeof memory[0]);
    u8 *given = memory[next++ % CPUS];
    memset(given, 0, count * FRAME_BYTES);
    *out = hpa((u64)(uintptr_t)given);
    return STATUS_OK;
}

/* Here memory's addresses are its own. */
void *phys_to_virt(hpa_t physical)
{
    return (void *)(uintptr_t)physical.raw;
}

static void become(u32 cpu)
{
    assert_int_equal(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &locals[cpu]), 0);
}

static void emit(const char *text)
{
    assert_true(line_count < ARRAY_SIZE(lines));
    strncpy(lines[line_count++], text, sizeof lines[0] - 1);
}

static int set_up(void **state)
{
    struct refusal why;

    (void)state;
    memset(locals, 0, sizeof locals);
    for (u32 i = 0; i < CPUS; i++) {
        locals[i].self = &locals[i];
        locals[i].id = i;
        vm[i].id = i;
        vm[i].spec.cpus = 1;
        vcpus[i] = (struct vcpu){.vm = &vm[i], .trace_tag = trace_tag(&vm[i], 0)};
    }
    strcpy(vm[0].spec.name, "one");
    strcpy(vm[1].spec.name, "two");
    vm[0].next = &vm[1];
    out_of_memory = false;
    assert_int_equal(trace_init(&why), STATUS_OK);
    memset(lines, 0, sizeof lines);
    line_count = 0;
    become(0);
    return 0;
}

/* An exit of the VM at a time of our choosing. */
static struct trace_record *record(u32 vm_index, u64 tsc, u8 cause)
{
    struct trace_record *r = trace_begin(trace_tag(&vm[vm_index], 0));

    r->tsc = tsc;
    r->rip = 0x1000 + tsc;
    r->cause = cause;
    r->entry_tsc = (u32)tsc + 93;
    return r;
}

static void no_memory_is_refused(void **state)
{
    struct refusal why;

    (void)state;
    out_of_memory = true;
    assert_int_equal(trace_init(&why), STATUS_NO_MEMORY);
    assert_non_null(strstr(why.text, "160 KiB"));
}

static void first_record_is_first(void **state)
{
    (void)state;
    struct trace_ring ring = trace_ring(0, false);
    assert_ptr_equal(record(0, 5, 10), ring.records);
    assert_int_equal(trace_ring(0, false).newest, 0);
    assert_int_equal(ring.size, TRACE_EXIT_RECORDS);
}

/* The record before the ring's end is followed by the ring's first, and never by memory behind it. */
static void ring_wraps(void **state)
{
    (void)state;
    const struct trace_record *first = trace_ring(0, false).records;
    for (u32 i = 0; i < TRACE_EXIT_RECORDS; i++)
        assert_ptr_equal(record(0, i + 1, 10), first + i);
    assert_ptr_equal(record(0, 9999, 1), first);
    assert_int_equal(first[1].tsc, 2);
}

static void last_records_in_order_of_time(void **state)
{
    (void)state;
    record(0, 100, 10)->detail = 0x16;
    record(1, 150, 10);
    become(1);
    record(0, 200, 1)->action = 48;
    become(0);
    struct trace_record *left = record(0, 300, 12);
    left->action = TRACE_LEFT;

    trace_print_newest(&vm[0], TRACE_LAST, emit);
    assert_int_equal(line_count, 3);
    assert_string_equal(lines[0], "last cpu=0 tsc=100 vm=one vcpu=0 cpuid rip=0x1064 leaf=0x16 skip ticks=93");
    assert_string_equal(lines[1],
                        "last cpu=1 tsc=200 vm=one vcpu=0 external-interrupt rip=0x10c8 info=0x0 deliver=48 ticks=93");
    assert_string_equal(lines[2], "last cpu=0 tsc=300 vm=one vcpu=0 other rip=0x112c left ticks=93");
    line_count = 0;
    trace_print_newest(NULL, TRACE_LAST, emit); /* of all VMs, which have no names then */
    assert_int_equal(line_count, 4);
    assert_string_equal(lines[1], "last cpu=0 tsc=150 vm=2 vcpu=0 cpuid rip=0x1096 leaf=0x0 skip ticks=93");
}

/* An exit's detail by what it is: docs/trace.md. */
static void details_in_words(void **state)
{
    (void)state;
    record(0, 100, 30)->detail = 0x3f90000;
    record(0, 200, 30)->detail = 0x210009;
    record(0, 300, 48)->detail = 0xfee000b0;
    record(0, 400, 12)->detail = 0x77; /* has none: what stands there is of older times */
    record(0, 500, 52)->action = TRACE_DELIVER_LOW;
    trace_event(TRACE_VM_STOP, &vcpus[0], VM_STOP_TRIPLE_FAULT);
    trace_print_newest(&vm[0], TRACE_LAST, emit);
    assert_non_null(strstr(lines[0], " rip=0x1064 out port=0x3f9 bytes=1 skip"));
    assert_non_null(strstr(lines[1], " rip=0x10c8 in port=0x21 bytes=2 skip"));
    assert_non_null(strstr(lines[2], " address=0xfee000b0 "));
    assert_null(strstr(lines[3], "0x77"));
    assert_non_null(strstr(lines[4], " deliver-low "));
    assert_non_null(strstr(lines[5], " vm-stop reason=triple-fault"));
}

/* Interruption information beside its meaning. */
static void events_in_words(void **state)
{
    static const struct {
        u32 info;
        const char *words;
    } events[] = {
        {0x80000306, " info=0x80000306 event=#UD"    },
        {0x80000b0e, " info=0x80000b0e event=#PF"    },
        {0x80000202, " info=0x80000202 event=NMI"    },
        {0x80000603, " info=0x80000603 event=#BP"    },
        {0x80000480, " info=0x80000480 vector=0x80"  },
        {0x80000030, " info=0x80000030 vector=0x30"  },
        {0x80000309, " info=0x80000309 event=unknown"},
        {0x800003ff, " info=0x800003ff event=unknown"},
        {0x00000306, " info=0x306"                   },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(events); i++) {
        line_count = 0;
        trace_event(TRACE_INJECT, &vcpus[0], events[i].info);
        trace_print_newest(&vm[0], TRACE_LAST, emit);
        const char *inject = strstr(lines[line_count - 1], " inject");
        assert_non_null(inject);
        assert_string_equal(inject + strlen(" inject"), events[i].words);
    }
    record(0, UINT64_MAX / 2, 1)->detail = 0x80000030;
    trace_print_newest(&vm[0], TRACE_LAST, emit);
    assert_non_null(strstr(lines[line_count - 1], " external-interrupt rip="));
    assert_non_null(strstr(lines[line_count - 1], " info=0x80000030 vector=0x30 skip"));
}

/* IN and OUT in turn, as a guest that prints makes them; from `tsc` on. */
static void poll_and_print(u32 vm_index, u64 tsc, u32 times)
{
    for (u32 i = 0; i < times; i++) {
        record(vm_index, tsc + 2 * i, 30)->detail = 0x3fd0008;
        record(vm_index, tsc + 2 * i + 1, 30)->detail = 0x3f80000;
    }
}

/* What is recorded after they have been collected does not matter. */
static void print_folded(void)
{
    struct trace_story story;

    trace_collect(&vm[0], &story);
    while (trace_print_oldest(&story, true, &vm[0], emit))
        ;
}

static void repeats_are_folded(void **state)
{
    (void)state;
    record(0, 50, 10)->detail = 0x16;
    poll_and_print(0, 100, 15);
    record(0, 200, 2)->action = TRACE_STOP;
    print_folded();
    assert_int_equal(line_count, 3);
    assert_string_equal(lines[0], "last cpu=0 tsc=50 vm=one vcpu=0 cpuid rip=0x1032 leaf=0x16 skip ticks=93");
    assert_string_equal(lines[1], "last cpu=0 tsc=100 vm=one vcpu=0 in 0x3fd, out 0x3f8: 15 times");
    assert_string_equal(lines[2], "last cpu=0 tsc=200 vm=one vcpu=0 other rip=0x10c8 stop ticks=93");
    line_count = 0;
    trace_print_newest(&vm[0], TRACE_LAST, emit); /* as ever */
    assert_int_equal(line_count, 32);
}

/* What differs in anything that a line tells is not the same; two of a kind are no pattern, nor is half of one. */
static void only_repeats_are_folded(void **state)
{
    (void)state;
    record(0, 10, 10)->detail = 1;
    record(0, 11, 10)->detail = 1;
    record(0, 12, 10)->detail = 2;
    record(0, 13, 10)->action = TRACE_RESUME;
    record(0, 14, 10)->action = TRACE_SKIP;
    become(1);
    record(0, 15, 10);
    become(0);
    print_folded();
    assert_int_equal(line_count, 6);

    line_count = 0;
    poll_and_print(0, 100, 2);
    record(0, 104, 30)->detail = 0x3fd0008;
    print_folded();
    assert_int_equal(line_count, 8);
    assert_non_null(strstr(lines[6], " tsc=100 vm=one vcpu=0 in 0x3fd, out 0x3f8: 2 times"));
    assert_non_null(strstr(lines[7], " tsc=104 vm=one vcpu=0 other rip=0x1068 in port=0x3fd "));

    line_count = 0;
    for (u32 i = 0; i < 3; i++)
        record(0, 110 + i, 12)->detail = i; /* what has no meaning does not count */
    print_folded();
    assert_non_null(strstr(lines[8], " tsc=110 vm=one vcpu=0 other: 3 times"));
}

/* A guest that sleeps from tick to tick: the ticks that it is given differ, and the delivery is part of the pattern. */
static void longer_patterns_are_folded(void **state)
{
    (void)state;
    for (u32 i = 0; i < 32; i++) {
        record(0, 100 + 10 * i, 12)->action = TRACE_LEFT;
        struct trace_record *enter = record(0, 101 + 10 * i, TRACE_ENTER);
        enter->detail = 7777 + i;
        enter->action = 32;
    }
    print_folded();
    assert_int_equal(line_count, 1);
    assert_string_equal(lines[0], "last cpu=0 tsc=260 vm=one vcpu=0 other, enter deliver=32: 16 times");
}

static void no_more_than_the_last(void **state)
{
    (void)state;
    for (u32 i = 0; i < 5000; i++)
        record(0, i + 1, 10);
    trace_print_newest(&vm[0], TRACE_LAST, emit);
    assert_int_equal(line_count, TRACE_LAST);
    assert_non_null(strstr(lines[0], "tsc=4969 "));
    assert_non_null(strstr(lines[TRACE_LAST - 1], "tsc=5000 "));
}

static void events_are_kept_apart(void **state)
{
    (void)state;
    trace_event(TRACE_SIPI, &vcpus[1], 0x9f);
    for (u32 i = 0; i < 2 * TRACE_EXIT_RECORDS; i++)
        record(0, i + 1, 10);
    trace_print_newest(&vm[1], TRACE_LAST, emit);
    assert_int_equal(line_count, 1);
    assert_non_null(strstr(lines[0], "vm=two vcpu=0 sipi vector=0x9f"));
}

static u32 base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return c == '=' ? 0 : (u32)(strchr(digits, c) - digits);
}

/* Decodes a data line into records; their number. */
static u32 decode(const char *line, struct trace_record *to)
{
    u8 *bytes = (u8 *)to;
    u32 count = 0;
    const char *at = line + strlen("trace data=");

    for (; *at; at += 4) {
        u32 group =
            base64_value(at[0]) << 18 | base64_value(at[1]) << 12 | base64_value(at[2]) << 6 | base64_value(at[3]);
        for (u32 i = 0; i < 3 && at[i + 1] != '='; i++)
            bytes[count++] = (u8)(group >> (16 - 8 * i));
    }
    assert_int_equal(count % sizeof *to, 0);
    return count / (u32)sizeof *to;
}

static void all_as_text(void **state)
{
    struct trace_record decoded[3];

    (void)state;
    for (u32 i = 0; i < 4; i++)
        record(1, 1000 + i, 10)->detail = 0xfedcba9876543210 + i;
    trace_print_all(vm, emit);
    assert_string_equal(lines[0], "trace version=1 tsc_hz=50000000 cpus=2 record_bytes=32");
    assert_string_equal(lines[1], "trace vm id=1 name=one cpus=1");
    assert_string_equal(lines[2], "trace vm id=2 name=two cpus=1");
    assert_string_equal(lines[3], "trace ring cpu=0 kind=exits records=4 lost=0");
    assert_int_equal(strlen(lines[4]), strlen("trace data=") + 128);
    assert_int_equal(decode(lines[4], decoded), 3);
    assert_memory_equal(decoded, trace_ring(0, false).records, 96);
    assert_int_equal(decode(lines[5], decoded), 1);
    assert_int_equal(decoded[0].tsc, 1003);
    assert_int_equal(decoded[0].detail, 0xfedcba9876543213);
    assert_int_equal(decoded[0].vcpu, 2 << 4);
    assert_string_equal(lines[6], "trace ring cpu=0 kind=events records=0 lost=0");
    assert_string_equal(lines[9], "trace end");
    assert_int_equal(line_count, 10);
}

static void full_ring_says_so(void **state)
{
    struct trace_record decoded[3];

    (void)state;
    for (u32 i = 0; i < TRACE_EXIT_RECORDS + 10; i++)
        record(0, i + 1, 10);
    trace_print_all(vm, emit);
    assert_string_equal(lines[3], "trace ring cpu=0 kind=exits records=4096 lost=some");
    decode(lines[4], decoded);
    assert_int_equal(decoded[0].tsc, 11); /* the oldest that is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_memory_is_refused, set_up),
        cmocka_unit_test_setup(first_record_is_first, set_up),
        cmocka_unit_test_setup(ring_wraps, set_up),
        cmocka_unit_test_setup(last_records_in_order_of_time, set_up),
        cmocka_unit_test_setup(details_in_words, set_up),
        cmocka_unit_test_setup(events_in_words, set_up),
        cmocka_unit_test_setup(repeats_are_folded, set_up),
        cmocka_unit_test_setup(only_repeats_are_folded, set_up),
        cmocka_unit_test_setup(longer_patterns_are_folded, set_up),
        cmocka_unit_test_setup(no_more_than_the_last, set_up),
        cmocka_unit_test_setup(events_are_kept_apart, set_up),
        cmocka_unit_test_setup(all_as_text, set_up),
        cmocka_unit_test_setup(full_ring_says_so, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
