/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is printed about a VM entry that failed: the form of the lines, their bound, and that the VMCS is only read.
 *
 * links: vmx/check/explain.c vmx/check/check.c vmx/check/rule.c vmx/check/controls.c vmx/check/host.c vmx/check/guest.c
 * vmx/check/segments.c vmx/check/state.c vmx/check/msrs.c vmx/check/text.c vmx/check/fields.c vmx/controls.c vmx/caps.c
 * test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/paging.h"
#include "kernel/lib/format.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "test/fake/check_images.h"
#include "test/fake/cpu.h"
#include "test/fake/msr.h"
#include "test/fake/vmcs.h"
#include "vmx/check/explain.h"

#define MAX_LINES    200
#define RAM_BEGIN    0x2000u /* of the bench's memory: what lies below is no RAM */
#define VMCS_ADDRESS 0x4000u

static struct bench bench;
static struct vm vm;
static struct vmx_vcpu v;
static char lines[MAX_LINES][512];
static u32 line_count;
static struct fake_vmcs_copy before;

void log_event(const char *format, ...)
{
    va_list arguments;

    assert_true(line_count < MAX_LINES);
    va_start(arguments, format);
    size_t length = format_list(lines[line_count], sizeof lines[0], format, arguments);
    va_end(arguments);
    assert_true(length < 500); /* with "rootlet: " it fits into a line of the log */
    line_count++;
}

void panic(const char *format, ...)
{
    print_error("panic: %s\n", format);
    abort();
}

bool paging_is_memory(hpa_t base, u64 bytes)
{
    return base.raw >= RAM_BEGIN && base.raw < BENCH_MEMORY && bytes <= BENCH_MEMORY - base.raw;
}

void *phys_to_virt(hpa_t address)
{
    assert_true(paging_is_memory(address, 1));
    return bench.memory + address.raw;
}

hpa_t virt_to_phys(const void *pointer)
{
    return hpa((u64)((const u8 *)pointer - bench.memory));
}

static void write_vmcs_again(void)
{
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        fake_vmcs_set(check_field_encoding(row), bench.image.value[row]);
}

/* What a test writes into bench.image before this is the VMCS. */
static void write_vmcs(void)
{
    write_vmcs_again();
    line_count = 0;
    fake_vmcs_save(&before);
}

static int set_up(void **state)
{
    (void)state;
    fake_vmcs_reset();
    fake_vmcs_set_current(VMCS_ADDRESS);
    fake_cpu_reset();
    fake_cpuid_skylake();
    fake_msr_reset();
    fake_msr_skylake();
    fake_msr_set(MSR_IA32_EFER, 0xd01);
    fake_msr_set(MSR_IA32_VMX_VMFUNC, 1);
    bench_set_up(&bench, BENCH_PROTECTED);
    vm = (struct vm){0};
    strcpy(vm.spec.name, "broken");
    v = (struct vmx_vcpu){.vmcs = {VMCS_ADDRESS}};
    v.base.vm = &vm;
    v.base.index = 3;
    return 0;
}

static void check_untouched(void)
{
    struct fake_vmcs_copy after;

    fake_vmcs_save(&after);
    assert_memory_equal(&before, &after, sizeof after);
    assert_int_equal(fake_vmcs_write_count(), 0);
    assert_int_equal(fake_vmcs_failed_count(), 0);
    assert_int_equal(fake_msr_write_count(), 0);
}

static u32 count(const char *text)
{
    u32 found = 0;
    for (u32 i = 0; i < line_count; i++)
        found += strstr(lines[i], text) != NULL;
    return found;
}

/* As the report of a VM that stops does it. Returns how many pieces it took. */
static u32 print_rules(enum explain_failure how)
{
    u32 at = 0, pieces = 1;

    v.failure = (struct vmx_failure){true, (u8)how, 0, vmcs_current().raw};
    if (how == EXPLAIN_VMFAIL_VALID)
        v.failure.error = vmcs_read(INSTRUCTION_ERROR);
    while (explain_rules(&v, &at)) {
        assert_true(line_count <= pieces);
        pieces++;
    }
    return pieces;
}

static void print_dump(void)
{
    u32 at = 0, pieces = 1;

    for (; explain_dump(&v, &at); pieces++)
        assert_true(line_count <= pieces);
    assert_true(line_count <= pieces);
}

static void test_exit(void **state)
{
    (void)state;
    bench.image.value[FIELD_GUEST_RFLAGS] = 0;
    bench.image.value[FIELD_EXIT_REASON] = 0x80000021;
    bench.image.value[FIELD_EXIT_QUALIFICATION] = 0;
    bench.image.value[FIELD_INSTRUCTION_ERROR] = 7; /* of an earlier failure */
    write_vmcs();
    print_rules(EXPLAIN_EXIT);
    assert_int_equal(line_count, 2);
    char *section = strstr(lines[0], " sdm=");
    assert_non_null(section);
    assert_string_equal(section, " sdm=\"3C 26.3.1.4 Checks on Guest RIP and RFLAGS\"");
    *section = 0;
    assert_string_equal(lines[0], "vm entry name=broken vcpu=3 broken field=GUEST_RFLAGS value=0x0 (bit 1 must be 1) "
                                  "rule=\"bits 63:22, 15, 5 and 3 must be 0 and bit 1 must be 1\"");
    assert_string_equal(
        lines[1], "vm entry name=broken vcpu=3 failed=\"exit reason 33, qualification 0\" checked=\"1 broken: exit "
                  "reason 33 (VM-entry failure due to invalid guest state), qualification 0\"");
    check_untouched();
}

static void test_vmfail_valid(void **state)
{
    (void)state;
    bench.image.value[FIELD_VPID] = 0;
    bench.image.value[FIELD_INSTRUCTION_ERROR] = 7;
    write_vmcs();
    print_rules(EXPLAIN_VMFAIL_VALID);
    assert_int_equal(line_count, 2);
    assert_int_equal(count("broken field=VPID value=0x0 rule="), 1);
    assert_int_equal(count("failed=\"VMfailValid, error 7\" checked=\"1 broken: VMfailValid, error 7 "), 1);
    check_untouched();
}

static void test_nothing_broken(void **state)
{
    (void)state;
    bench.image.value[FIELD_EXIT_REASON] = 0x80000021;
    write_vmcs();
    print_rules(EXPLAIN_EXIT);
    assert_int_equal(line_count, 2);
    assert_string_equal(lines[0], "vm entry name=broken vcpu=3 no rule of SDM 3C 26 is found broken");
    assert_int_equal(count("failed=\"exit reason 33, qualification 0\" checked=\"0 broken: VM entry should succeed\""),
                     1);
}

/* Errors of SDM 3C 26.1, which look at no field. */
static void test_basic_errors(void **state)
{
    static const struct {
        u32 error;
        const char *text;
    } errors[] = {
        {4,  "broken launch-state=launched rule=\"the VMCS that VMLAUNCH enters must be clear"},
        {5,  "broken launch-state=clear rule=\"the VMCS that VMRESUME enters must be launched"},
        {26, "broken blocking=mov-ss rule=\"no VM entry in the instruction after MOV SS"      },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(errors); i++) {
        bench.image.value[FIELD_INSTRUCTION_ERROR] = errors[i].error;
        write_vmcs();
        print_rules(EXPLAIN_VMFAIL_VALID);
        assert_int_equal(line_count, 2);
        assert_non_null(strstr(lines[0], errors[i].text));
        assert_non_null(strstr(lines[0], "sdm=\"3C 26.1 Basic VM-Entry Checks\""));
        assert_non_null(strstr(lines[1], "checked=\"nothing else is broken\""));
    }
}

/* Nothing may be read then: every VMREAD would fail. */
static void test_vmfail_invalid(void **state)
{
    (void)state;
    write_vmcs();
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        fake_vmcs_remove(check_field_encoding(row));
    fake_vmcs_set_current(VMCS_NONE);
    print_rules(EXPLAIN_VMFAIL_INVALID);
    assert_int_equal(line_count, 2);
    assert_int_equal(count("broken current=none expected=0x4000 rule=\"a VMCS must be current"), 1);
    assert_int_equal(count("failed=\"VMfailInvalid\""), 1);
    line_count = 0;
    fake_vmcs_set_current(0x7000);
    print_rules(EXPLAIN_VMFAIL_INVALID);
    assert_int_equal(count("broken current=0x7000 expected=0x4000"), 1);
    assert_int_equal(fake_vmcs_failed_count(), 0);
}

static void test_lines_are_bounded(void **state)
{
    (void)state;
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        bench.image.value[row] = ~0ull >> (64 - check_field_bits(row));
    bench.image.value[FIELD_ENTRY_MSR_LOAD_COUNT] = 0;
    write_vmcs();
    print_rules(EXPLAIN_VMFAIL_VALID);
    assert_int_equal(line_count, EXPLAIN_MAX_RULES + 2);
    assert_int_equal(count(" broken field="), EXPLAIN_MAX_RULES);
    unsigned more = 0, all = 0;
    assert_int_equal(sscanf(lines[EXPLAIN_MAX_RULES], "vm entry name=broken vcpu=3 broken more=%u", &more), 1);
    assert_non_null(strstr(lines[EXPLAIN_MAX_RULES + 1], "checked=\""));
    assert_int_equal(sscanf(strstr(lines[EXPLAIN_MAX_RULES + 1], "checked=\""), "checked=\"%u broken", &all), 1);
    assert_int_equal(more + EXPLAIN_MAX_RULES, all);
    check_untouched();
}

/* The whole VMCS: each field that the CPU has once, and with all bits set still within the bound. */
static void test_dump(void **state)
{
    (void)state;
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        bench.image.value[row] = ~0ull >> (64 - check_field_bits(row));
    write_vmcs();
    print_dump();
    assert_true(line_count > 10 && line_count <= EXPLAIN_MAX_LINES);
    for (u32 row = 0; row < CHECK_FIELDS; row++) {
        char name[64];
        bool exists = check_field_exists(row, &bench.caps);
        snprintf(name, sizeof name, " %s=0x%llx", check_field_name(row), (unsigned long long)bench.image.value[row]);
        assert_int_equal(count(name), exists);
    }
    assert_int_equal(count("vm vmcs name=broken vcpu=3 guest: GUEST_ES_SELECTOR=0xffff "), 1);
    check_untouched();
}

static void test_dump_decodes(void **state)
{
    (void)state;
    write_vmcs();
    print_dump();
    assert_int_equal(count(" GUEST_CR0=0x80010031(PE ET NE WP PG)"), 1);
    assert_int_equal(
        count(" PIN_CONTROLS=0x7f(external-interrupt exiting, NMI exiting, virtual NMIs, VMX-preemption timer)"), 1);
    assert_int_equal(count(" GUEST_CS_ACCESS=0xc09b(type 11 DPL 0 S P D/B G)"), 1);
    assert_int_equal(count(" HOST_RIP=0xffffffff80104000"), 1);
}

/* The reports of two vCPUs, a piece of each in turn: each has its own VMCS in its lines. */
static void test_two_at_once(void **state)
{
    struct vmx_vcpu other = v;
    u32 at = 0, others_at = 0;

    (void)state;
    write_vmcs();
    other.base.index = 4;
    v.failure = other.failure = (struct vmx_failure){.known = true, .how = EXPLAIN_EXIT};
    for (u32 more = 3; more;) {
        bench.image.value[FIELD_GUEST_RFLAGS] = 0;
        write_vmcs_again();
        more = more & 1 ? explain_rules(&v, &at) | (more & 2) : more;
        bench.image.value[FIELD_GUEST_RFLAGS] = RFLAGS_ONE;
        write_vmcs_again();
        more = more & 2 ? (u32)explain_rules(&other, &others_at) << 1 | (more & 1) : more;
    }
    assert_int_equal(count("vcpu=3 broken field=GUEST_RFLAGS value=0x0"), 1);
    assert_int_equal(count("vcpu=3 failed="), 1);
    assert_int_equal(count("vcpu=4 no rule of SDM 3C 26 is found broken"), 1);
    assert_int_equal(count("vcpu=4 failed="), 1);
    assert_int_equal(line_count, 4);
}

/* A CPU without EPT has no EPT pointer: reading it would spoil the VM-instruction error. */
static void test_missing_fields_are_left_alone(void **state)
{
    struct check_image image;
    struct vmx_caps caps;

    (void)state;
    fake_msr_set(MSR_IA32_VMX_PROCBASED_CTLS2, 0);
    write_vmcs();
    fake_vmcs_remove(EPT_POINTER.encoding);
    fake_vmcs_remove(VPID.encoding);
    explain_read(&v, &image, &caps);
    assert_int_equal(image.value[FIELD_EPT_POINTER], 0);
    assert_int_equal(image.value[FIELD_VPID], 0);
    assert_int_equal(fake_vmcs_failed_count(), 0);
    assert_int_equal(image.value[FIELD_GUEST_CR3], BENCH_PDPT);
}

/* One that the CPU lacks although its capabilities promise it is 0. */
static void test_a_field_that_fails_is_zero(void **state)
{
    struct check_image image;
    struct vmx_caps caps;

    (void)state;
    write_vmcs();
    fake_vmcs_remove(VPID.encoding);
    explain_read(&v, &image, &caps);
    assert_int_equal(image.value[FIELD_VPID], 0);
    assert_int_equal(fake_vmcs_failed_count(), 1);
}

static void test_facts_of_the_cpu(void **state)
{
    struct check_image image;
    struct vmx_caps caps;

    (void)state;
    fake_cpuid_set(0x80000008, 0, (struct cpuid_result){.eax = 0x302e});
    fake_cpuid_set(0x80000001, 0, (struct cpuid_result){.edx = BIT(11) | BIT(29)}); /* no NX */
    fake_cpuid_set(10, 0, (struct cpuid_result){.eax = 0x07300404, .edx = 0x603});
    write_vmcs();
    explain_read(&v, &image, &caps);
    assert_int_equal(image.cpu.physical_bits, 46);
    assert_int_equal(image.cpu.linear_bits, 48);
    assert_true(image.cpu.long_mode);
    assert_false(image.cpu.in_smm);
    assert_int_equal(image.cpu.efer_valid, 0x501);
    assert_int_equal(image.cpu.perf_global_valid, 0x70000000full);
    assert_int_equal(caps.vmfunc, 1);
    assert_int_equal(image.cpu.vmcs_pointer, VMCS_ADDRESS);
    assert_int_equal(caps.basic, bench_skylake.basic);
}

/* Memory that is no RAM is not touched, and the last line says so. */
static void test_only_ram_is_read(void **state)
{
    (void)state;
    bench.image.value[FIELD_EXIT_REASON] = 0x80000021;
    bench.image.value[FIELD_VMCS_LINK_POINTER] = 0x1000;
    write_vmcs();
    print_rules(EXPLAIN_EXIT);
    assert_int_equal(count("not looked at: the linked VMCS"), 1);
    bench.image.value[FIELD_VMCS_LINK_POINTER] = BENCH_APIC; /* RAM, but no VMCS */
    write_vmcs();
    print_rules(EXPLAIN_EXIT);
    assert_int_equal(count("field=VMCS_LINK_POINTER value=0x7000 rule=\"bits 30:0 of the VMCS there"), 1);
    assert_int_equal(count("not looked at"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_exit, set_up),
        cmocka_unit_test_setup(test_vmfail_valid, set_up),
        cmocka_unit_test_setup(test_nothing_broken, set_up),
        cmocka_unit_test_setup(test_basic_errors, set_up),
        cmocka_unit_test_setup(test_vmfail_invalid, set_up),
        cmocka_unit_test_setup(test_lines_are_bounded, set_up),
        cmocka_unit_test_setup(test_dump, set_up),
        cmocka_unit_test_setup(test_dump_decodes, set_up),
        cmocka_unit_test_setup(test_two_at_once, set_up),
        cmocka_unit_test_setup(test_missing_fields_are_left_alone, set_up),
        cmocka_unit_test_setup(test_a_field_that_fails_is_zero, set_up),
        cmocka_unit_test_setup(test_facts_of_the_cpu, set_up),
        cmocka_unit_test_setup(test_only_ram_is_read, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
