/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Accesses on behalf of an inner guest with EPT: entries of its page tables and operands are where its hypervisor's map
 * has them, and what that forbids is no exception of the inner guest's. SDM 3C 28.2.1 "EPT Overview".
 *
 * links: vmx/insn/guest.c vmx/insn/gva.c vmx/insn/guest_physical.c vmx/event.c vmx/apicv.c vmx/caps.c vmx/controls.c
 * links: arch/x86/xsave.c kernel/lib/format.c kernel/vm/memory.c kernel/vm/layer.c kernel/vm/bus.c
 * links: test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "test/fake/host_memory.h"
#include "test/fake/vm_bus.h"
#include "vmx/insn/guest.h"

/* Linear, of the inner guest; its tables in its own memory; and where its hypervisor has put that. */
enum { LINEAR = 0x400000, DIRECTORY = 0x1000, TABLE = 0x2000, MOVED = 0x100000 };
enum { R = 1, W = 2, X = 4 };

static u64 forbidden; /* a page of inner memory */
static u32 forbidden_access;
static struct {
    u64 address;
    u32 access;
    bool flags;
} last, asked[16];
static u32 asks;

static bool inner_physical(const struct vmx_vcpu *v, u64 address, u32 access, bool flags, u64 *physical)
{
    assert_ptr_equal(v, &bench.v);
    last.address = address, last.access = access, last.flags = flags;
    if (asks < 16)
        asked[asks++] = last;
    if ((address & ~0xfffull) == forbidden && access & forbidden_access)
        return false;
    *physical = address + MOVED;
    return true;
}

static void put(u64 at, u64 value, u64 bytes)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(at), &value, bytes), STATUS_OK);
}

static u64 get(u64 at, u64 bytes)
{
    u64 value = 0;
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(at), &value, bytes), STATUS_OK);
    return value;
}

/* 32-bit paging: the page at LINEAR is inner page 0x5000, the next one 0x9000. */
static int set_up(void **state)
{
    struct refusal why;

    (void)state;
    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(4), &why), STATUS_OK);
    xsave_detect();
    put(MOVED + DIRECTORY + 4, TABLE | 7, 4);
    put(MOVED + TABLE, 0x5007, 4);
    put(MOVED + TABLE + 4, 0x9007, 4);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    VMCS_SET(GUEST_CR3, DIRECTORY);
    for (u32 i = 0; i < 6; i++)
        fake_vmcs_set(ENCODING_GUEST_ES_LIMIT + 2 * i, UINT32_MAX);
    VMCS_SET(GUEST_DS_ACCESS, 0xc093);
    bench.v.inner_physical = inner_physical;
    forbidden = ~0ull;
    forbidden_access = R | W | X;
    asks = 0;
    return 0;
}

static void test_read_and_write(void **state)
{
    u64 value;

    (void)state;
    put(MOVED + 0x5ffe, 0x1122, 2);
    put(MOVED + 0x9000, 0x3344, 2);
    assert_int_equal(guest_read(&bench.v, LINEAR + 0xffe, 4, &value), GUEST_ACCESS_OK);
    assert_int_equal(value, 0x33441122);
    assert_int_equal(get(MOVED + TABLE, 4), 0x5027); /* accessed */
    assert_int_equal(guest_write(&bench.v, LINEAR + 8, 4, 0x55667788), GUEST_ACCESS_OK);
    assert_int_equal(get(MOVED + 0x5008, 4), 0x55667788);
    assert_int_equal(get(MOVED + TABLE, 4), 0x5067); /* and dirty */
    assert_int_equal(get(TABLE, 4), 0);              /* as if nothing of the guest hypervisor's were there */
    assert_int_equal(last.access, W);
    assert_true(last.flags);
}

static void test_what_is_asked(void **state)
{
    gpa_t where;

    (void)state;
    assert_int_equal(guest_translate(&bench.v, LINEAR + 0x123, GVA_FETCH, &where), GUEST_ACCESS_OK);
    assert_int_equal(where.raw, MOVED + 0x5123);
    assert_int_equal(asks, 5);
    static const struct {
        u64 address;
        u32 access;
    } rows[] = {
        {DIRECTORY + 4, VMX_INNER_TABLE},
        {TABLE,         VMX_INNER_TABLE},
        {DIRECTORY + 4, R | W          },
        {TABLE,         R | W          },
        {0x5123,        X              }
    };
    for (u32 i = 0; i < 5; i++) {
        assert_int_equal(asked[i].address, rows[i].address);
        assert_int_equal(asked[i].access, rows[i].access);
        assert_true(asked[i].flags);
    }
}

static void test_peek_leaves_no_trace(void **state)
{
    u64 value;

    (void)state;
    put(MOVED + 0x5010, 0xabcd, 2);
    assert_true(guest_peek(&bench.v, LINEAR + 0x10, 2, &value));
    assert_int_equal(value, 0xabcd);
    assert_int_equal(asks, 3);
    for (u32 i = 0; i < 3; i++)
        assert_false(asked[i].flags);
    assert_int_equal(get(MOVED + TABLE, 4), 0x5007);
    forbidden = 0x5000;
    assert_false(guest_peek(&bench.v, LINEAR + 0x10, 2, &value));
    forbidden = 0x2000;
    forbidden_access = VMX_INNER_TABLE;
    assert_false(guest_peek(&bench.v, LINEAR + 0x10, 2, &value));
}

/* The guest hypervisor hears of it, in inner_physical(): nothing is queued here. */
static void test_what_is_forbidden(void **state)
{
    struct guest_operand operand;
    gpa_t where;
    u64 value;

    (void)state;
    forbidden = 0x9000; /* the second page of an operand */
    assert_int_equal(guest_read(&bench.v, LINEAR + 0xffe, 4, &value), GUEST_ACCESS_FAULT);
    assert_int_equal(guest_operand(&bench.v, DECODE_DS, LINEAR + 0xffe, 4, GVA_READ, &operand), GUEST_ACCESS_FAULT);
    forbidden_access = W;
    assert_int_equal(guest_write(&bench.v, LINEAR + 0xffe, 4, 0), GUEST_ACCESS_FAULT);
    assert_int_equal(guest_read(&bench.v, LINEAR + 0xffe, 4, &value), GUEST_ACCESS_OK);
    forbidden_access = VMX_INNER_TABLE;
    for (forbidden = DIRECTORY; forbidden <= TABLE; forbidden += 0x1000) {
        assert_int_equal(guest_translate(&bench.v, LINEAR, GVA_READ, &where), GUEST_ACCESS_FAULT);
        assert_int_equal(last.address & ~0xfffull, forbidden);
    }
    put(MOVED + TABLE, 0x5007, 4);
    forbidden = TABLE; /* its flags cannot be set */
    forbidden_access = W;
    assert_int_equal(guest_translate(&bench.v, LINEAR, GVA_READ, &where), GUEST_ACCESS_FAULT);
    assert_int_equal(get(MOVED + TABLE, 4), 0x5007);
    bench_assert_no_exception();
    forbidden = ~0ull;
    assert_int_equal(guest_translate(&bench.v, LINEAR + MIB(4), GVA_READ, &where), GUEST_ACCESS_FAULT);
    bench_assert_exception(VECTOR_PF, 0); /* that one is the inner guest's own */
}

static void test_code(void **state)
{
    struct guest_code code;

    (void)state;
    put(MOVED + 0x5ffc, 0x90909090, 4);
    put(MOVED + 0x9000, 0xcccc, 2);
    VMCS_SET(GUEST_RIP, LINEAR + 0xffc);
    assert_int_equal(guest_fetch(&bench.v, &code), GUEST_ACCESS_OK);
    assert_int_equal(code.where.raw, MOVED + 0x5ffc);
    assert_int_equal(code.count, GUEST_CODE_BYTES);
    assert_int_equal(code.bytes[3], 0x90);
    assert_int_equal(code.bytes[4], 0xcc);
    assert_false(last.flags); /* the instruction may end before that page */
    forbidden = 0x9000;
    assert_int_equal(guest_fetch(&bench.v, &code), GUEST_ACCESS_OK);
    assert_int_equal(code.count, 4);
    assert_false(last.flags);
}

/* Another guest, or no EPT: addresses are what they are. */
static void test_without(void **state)
{
    gpa_t where;

    (void)state;
    bench.v.inner_physical = NULL;
    put(DIRECTORY + 4, TABLE | 7, 4);
    put(TABLE, 0x6007, 4);
    assert_int_equal(guest_translate(&bench.v, LINEAR + 4, GVA_WRITE, &where), GUEST_ACCESS_OK);
    assert_int_equal(where.raw, 0x6004);
    assert_int_equal(asks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_read_and_write, set_up),
        cmocka_unit_test_setup(test_what_is_asked, set_up),
        cmocka_unit_test_setup(test_peek_leaves_no_trace, set_up),
        cmocka_unit_test_setup(test_what_is_forbidden, set_up),
        cmocka_unit_test_setup(test_code, set_up),
        cmocka_unit_test_setup(test_without, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
