/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stopped guest's backtrace: chains of frames in 32-bit and 64-bit code, through page tables, and every way in which
 * a guest can make a wrong one. The guest is not touched by it.
 *
 * links: vmx/report/backtrace.c vmx/insn/guest.c vmx/insn/guest_physical.c vmx/insn/gva.c vmx/event.c vmx/apicv.c
 * vmx/controls.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 * test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"

#include "kernel/vm/symbols.h"
#include "kernel/lib/format.h"
#include "kernel/log.h"
#include "test/fake/host_memory.h"
#include "vmx/insn/guest.h"
#include "vmx/report/backtrace.h"

/* Functions f0 to f15, of 0x100 bytes each. */
#define CODE  0x8000u
#define STACK 0x20000u
#define PML4  0x10000u
#define PDPT  0x11000u
#define PD    0x12000u
#define PT    0x13000u
#define HIGH  0xffff800000000000ull /* the first 2 MiB once more */

static char lines[20][160];
static u32 count;

void log_event(const char *format, ...)
{
    va_list arguments;

    assert_in_range(count, 0, ARRAY_SIZE(lines) - 1);
    va_start(arguments, format);
    format_list(lines[count++], sizeof lines[0], format, arguments);
    va_end(arguments);
}

bool guest_symbols_find(const struct image *image, u64 address, u32 *steps, struct guest_symbol *out)
{
    u64 low = address & ~HIGH;

    assert_ptr_equal(image, &bench.vm.boot_image);
    assert_ptr_equal(steps, &bench.vm.symbol_steps);
    if (low < CODE || low >= CODE + 0x1000)
        return false;
    format_text(out->name, sizeof out->name, "f%lu", (low - CODE) / 0x100);
    out->offset = low % 0x100;
    return true;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm;
    (void)reason;
    fail_msg("%s", detail);
}

u64 vm_note_moved_timers(struct vm *vm, u64 value)
{
    (void)vm;
    return value;
}

u64 vm_memory_read(struct vcpu *vcpu, gpa_t address, u8 bytes)
{
    (void)vcpu;
    (void)bytes;
    fail_msg("a device is read at 0x%lx", (unsigned long)address.raw);
    return 0;
}

void vm_memory_write(struct vcpu *vcpu, gpa_t address, u8 bytes, u64 value)
{
    (void)vm_memory_read(vcpu, address, bytes);
    (void)value;
}

static void put(u64 address, u64 value, u8 bytes)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(address), &value, bytes), STATUS_OK);
}

static u64 get(u64 address)
{
    u64 value;
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(address), &value, 8), STATUS_OK);
    return value;
}

static int set_up(void **state)
{
    struct refusal why;

    (void)state;
    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    VMCS_SET(GUEST_RIP, CODE + 0x12);
    return 0;
}

/* 64-bit mode; the high half's first 2 MiB in 4-KiB pages, not accessed yet, at the same physical addresses. */
static void use_long_mode(void)
{
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE | CR4_SMAP);
    bench_set_efer(EFER_LMA | EFER_LME | EFER_NXE);
    VMCS_SET(GUEST_CR3, PML4);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    VMCS_SET(GUEST_RIP, HIGH + CODE + 0x12);
    put(PML4 + 256 * 8, PDPT | 3, 8);
    put(PDPT, PD | 3, 8);
    put(PD, PT | 3, 8);
    for (u64 i = 0; i < 512; i++)
        put(PT + 8 * i, i << 12 | 3, 8);
}

static void put_frame(u64 at, u64 next, u64 caller, u8 bytes)
{
    put(at & ~HIGH, next, bytes);
    put((at & ~HIGH) + bytes, caller, bytes);
}

static void print_from(u64 rbp)
{
    count = 0;
    bench.v.gpr[GPR_RBP] = rbp;
    guest_backtrace_print(&bench.v);
    bench_assert_no_exception();
}

static void test_32_bit(void **state)
{
    (void)state;
    put_frame(STACK, STACK + 0x20, CODE + 0x345, 4);
    put_frame(STACK + 0x20, 0, CODE + 0x700, 4);
    print_from(0xffffffff00000000 | STACK); /* the upper half is no part of EBP */
    assert_int_equal(count, 3);
    assert_string_equal(lines[0], "vm frame name=test vcpu=0 depth=0 address=0x8012 function=f0+0x12");
    assert_string_equal(lines[1], "vm frame name=test vcpu=0 depth=1 address=0x8345 function=f3+0x45");
    /* A call that is the last of its function returns to the first byte of the next. */
    assert_string_equal(lines[2], "vm frame name=test vcpu=0 depth=2 address=0x8700 function=f6+0x100");
}

static void test_64_bit_through_page_tables(void **state)
{
    char where[GUEST_BACKTRACE_WHERE_BYTES];

    (void)state;
    use_long_mode();
    put_frame(HIGH + STACK, HIGH + STACK + 0x40, HIGH + CODE + 0x205, 8);
    put_frame(HIGH + STACK + 0x40, 0, 0, 8);
    print_from(HIGH + STACK);
    assert_int_equal(count, 2);
    assert_string_equal(lines[1], "vm frame name=test vcpu=0 depth=1 address=0xffff800000008205 function=f2+0x5");
    guest_backtrace_where(&bench.v, where);
    assert_string_equal(where, " function=f0+0x12");
    assert_int_equal(get(PT + 8 * (STACK >> 12)), STACK | 3); /* no accessed flag */
    put(PT + 8 * (STACK >> 12), STACK | 2, 8);                /* not present */
    print_from(HIGH + STACK);
    assert_int_equal(count, 1);
}

/* The kernel's view: SMAP and a user page are no matter, whatever the guest's CPL and AC. */
static void test_user_page_under_smap(void **state)
{
    (void)state;
    use_long_mode();
    put(PT + 8 * (STACK >> 12), STACK | 7, 8);
    put(PD, PT | 7, 8);
    put(PDPT, PD | 7, 8);
    put(PML4 + 256 * 8, PDPT | 7, 8);
    put_frame(HIGH + STACK, 0, HIGH + CODE + 0x205, 8);
    print_from(HIGH + STACK);
    assert_int_equal(count, 2);
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3); /* CPL 3 and a supervisor page */
    put(PT + 8 * (STACK >> 12), STACK | 3, 8);
    print_from(HIGH + STACK);
    assert_int_equal(count, 2);
}

static void test_wrong_chains_end(void **state)
{
    static const u64 wild[] = {0,        1,       STACK + 2,  0x1fffff,   0x1ffffc,
                               0x200000, 0xa0000, 0xfee00000, 0xfffffffc, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wild); i++) {
        print_from(wild[i]);
        assert_int_equal(count, 1);
    }
    put_frame(STACK, STACK, CODE + 0x345, 4); /* round and round */
    print_from(STACK);
    assert_int_equal(count, 2);
    put_frame(STACK, STACK - 0x20, CODE + 0x345, 4); /* downwards */
    print_from(STACK);
    assert_int_equal(count, 2);
    put_frame(STACK, STACK + 0x20, 0x1234, 4); /* to where no function is */
    print_from(STACK);
    assert_int_equal(count, 1);
    use_long_mode();
    print_from(0x0000900000000000); /* not canonical */
    assert_int_equal(count, 1);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    for (u32 i = 0; i < 100; i++)
        put_frame(STACK + 8 * i, STACK + 8 * (i + 1), CODE + 0x345, 4);
    print_from(STACK);
    assert_int_equal(count, 9);
}

static void test_no_backtrace(void **state)
{
    char where[GUEST_BACKTRACE_WHERE_BYTES] = "x";

    (void)state;
    put_frame(STACK, 0, CODE + 0x345, 4);
    VMCS_SET(GUEST_CS_ACCESS, 0x9b); /* 16-bit code */
    print_from(STACK);
    assert_int_equal(count, 0);
    VMCS_SET(GUEST_CS_ACCESS, 0xc09b);
    VMCS_SET(GUEST_RIP, 0x1000);
    print_from(STACK);
    assert_int_equal(count, 0);
    guest_backtrace_where(&bench.v, where);
    assert_string_equal(where, "");
    VMCS_SET(GUEST_CS_BASE, CODE); /* RIP counts from there */
    guest_backtrace_where(&bench.v, where);
    assert_string_equal(where, "");
    VMCS_SET(GUEST_RIP, 0x10);
    guest_backtrace_where(&bench.v, where);
    assert_string_equal(where, " function=f0+0x10");
}

/* RIP is in no function, but who has called it there is known, and its own callers. */
static void test_call_to_nowhere(void **state)
{
    char where[GUEST_BACKTRACE_WHERE_BYTES];

    (void)state;
    VMCS_SET(GUEST_RIP, 0x40000000);
    VMCS_SET(GUEST_RSP, STACK - 0x10);
    put(STACK - 0x10, CODE + 0x500, 4);
    put_frame(STACK, 0, CODE + 0x345, 4);
    print_from(STACK);
    assert_int_equal(count, 2);
    assert_string_equal(lines[0], "vm frame name=test vcpu=0 depth=1 address=0x8500 function=f4+0x100");
    assert_string_equal(lines[1], "vm frame name=test vcpu=0 depth=2 address=0x8345 function=f3+0x45");
    guest_backtrace_where(&bench.v, where);
    assert_string_equal(where, " caller=f4+0x100");
    put(STACK - 0x10, 0x1234, 4); /* a JMP: something else is there */
    print_from(STACK);
    guest_backtrace_where(&bench.v, where);
    assert_string_equal(where, "");
    VMCS_SET(GUEST_RSP, 0x40000000);
    print_from(STACK);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_32_bit, set_up),
        cmocka_unit_test_setup(test_64_bit_through_page_tables, set_up),
        cmocka_unit_test_setup(test_user_page_under_smap, set_up),
        cmocka_unit_test_setup(test_wrong_chains_end, set_up),
        cmocka_unit_test_setup(test_depth_is_bounded, set_up),
        cmocka_unit_test_setup(test_no_backtrace, set_up),
        cmocka_unit_test_setup(test_call_to_nowhere, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
