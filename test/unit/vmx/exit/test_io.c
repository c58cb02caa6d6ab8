/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IN, OUT, INS and OUTS through their exits: sizes, direction, address wraps, REP, and page faults in the middle.
 * SDM 2A "INS/INSB/INSW/INSD", 3C 27.2.1 "Basic VM-Exit Information".
 *
 * links: vmx/exit/io.c vmx/insn/guest.c vmx/insn/guest_physical.c vmx/insn/gva.c vmx/event.c vmx/points.c vmx/apicv.c
 * vmx/controls.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "test/fake/host_memory.h"
#include "test/fake/vm_bus.h"
#include "vmx/exit/io.h"
#include "vmx/insn/decode.h"
#include "vmx/points.h"

#define PORT   0x320u
#define IN     8u
#define STRING 16u
#define REP    32u

static u32 sent[1024]; /* what went out of the port, and what comes in: 0x11, 0x12 and so on */
static u32 sent_count, read_count;
static u8 last_bytes;
static bool request_after_each;
static u32 slow_ticks; /* that a read takes */
static u32 stops;

static u64 device_read(void *device, u64 offset, u8 bytes)
{
    (void)device;
    assert_int_equal(offset, 0);
    last_bytes = bytes;
    fake_cpu.tsc += slow_ticks;
    if (request_after_each)
        vcpu_request(&bench.v.base, VCPU_REQUEST_RESCHEDULE);
    return 0x8877665544332211ull + read_count++;
}

static void device_write(void *device, u64 offset, u8 bytes, u64 value)
{
    (void)device;
    assert_int_equal(offset, 0);
    last_bytes = bytes;
    sent[sent_count++ % ARRAY_SIZE(sent)] = (u32)value;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm;
    (void)reason;
    (void)detail;
    stops++;
}

static bool refuses;

bool vm_write_effects(struct vcpu *vcpu)
{
    vcpu->vm->write_effect = false;
    return !refuses;
}

static int set_up(void **state)
{
    static const struct bus_ops ops = {device_read, device_write};
    struct refusal why;

    (void)state;
    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    bus_init(&bench.vm.bus);
    assert_int_equal(bus_add_ports(&bench.vm.bus, PORT, 4, 4, &ops, NULL), STATUS_OK);
    sent_count = read_count = stops = 0;
    request_after_each = refuses = false;
    slow_ticks = 0;
    VMCS_SET(GUEST_ES_LIMIT, UINT32_MAX);
    VMCS_SET(GUEST_SS_LIMIT, UINT32_MAX);
    VMCS_SET(GUEST_DS_LIMIT, UINT32_MAX);
    VMCS_SET(GUEST_ES_ACCESS, 0xc093);
    VMCS_SET(GUEST_DS_ACCESS, 0xc093);
    return 0;
}

static enum outcome io(u32 flags, u8 size, u16 port)
{
    VMCS_SET(EXIT_QUALIFICATION, (u64)port << 16 | flags | (size - 1u));
    return vmx_io_exit(&bench.v, trace_last());
}

enum width { A16, A32, A64 };

/* INS at ES:RDI, or OUTS at segment:RSI. */
static enum outcome string_io_at(u32 flags, u8 size, enum width width, enum decode_segment segment)
{
    VMCS_SET(EXIT_INSTRUCTION_INFO, width << 7 | (flags & IN ? 7u : segment) << 15); /* undefined for INS */
    VMCS_SET(GUEST_LINEAR_ADDRESS, 0xdead0000);                                      /* if the segment is not usable */
    return io(flags | STRING, size, PORT);
}

/* INS at ES:RDI or OUTS at DS:RSI, with a segment base. */
static enum outcome string_io(u32 flags, u8 size, enum width width, u64 base)
{
    VMCS_SET(GUEST_ES_BASE, base);
    VMCS_SET(GUEST_DS_BASE, base);
    return string_io_at(flags, size, width, DECODE_DS);
}

static void put(u64 address, const void *bytes, u64 count)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(address), bytes, count), STATUS_OK);
}

static u32 get(u64 address, u8 bytes)
{
    u32 value = 0;
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(address), &value, bytes), STATUS_OK);
    return value;
}

static void test_in_keeps_what_the_width_leaves(void **state)
{
    (void)state;
    bench.v.gpr[GPR_RAX] = 0xaaaaaaaaaaaaaaaa;
    assert_int_equal(io(IN, 1, PORT), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RAX], 0xaaaaaaaaaaaaaa11);
    assert_int_equal(io(IN, 2, PORT), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RAX], 0xaaaaaaaaaaaa2212);
    assert_int_equal(io(IN, 4, PORT), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RAX], 0x0000000044332213);
    assert_int_equal(last_bytes, 4);
}

static void test_in_from_nothing_reads_ones(void **state)
{
    (void)state;
    bench.v.gpr[GPR_RAX] = 0;
    assert_int_equal(io(IN, 1, 0x999), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RAX], 0xff);
    assert_int_equal(io(IN, 4, 0xffff), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RAX], 0xffffffff);
}

static void test_out_sends_the_width(void **state)
{
    static const u8 sizes[] = {1, 2, 4};

    (void)state;
    bench.v.gpr[GPR_RAX] = 0x123456789abcdef0;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(io(0, sizes[i], PORT), OUTCOME_SKIP);
        assert_int_equal(last_bytes, sizes[i]);
    }
    assert_int_equal(sent[0], 0xf0);
    assert_int_equal(sent[1], 0xdef0);
    assert_int_equal(sent[2], 0x9abcdef0);
    assert_int_equal(bench.v.gpr[GPR_RAX], 0x123456789abcdef0);
}

static void test_single_string_instructions(void **state)
{
    (void)state;
    put(0x5000, "\x01\x02\x03\x04", 4);
    bench.v.gpr[GPR_RSI] = 0x5000;
    bench.v.gpr[GPR_RCX] = 77;
    assert_int_equal(string_io(0, 2, A32, 0), OUTCOME_SKIP);
    assert_int_equal(sent[0], 0x0201);
    assert_int_equal(bench.v.gpr[GPR_RSI], 0x5002);
    bench.v.gpr[GPR_RDI] = 0x6000;
    assert_int_equal(string_io(IN, 4, A32, 0x100), OUTCOME_SKIP);
    assert_int_equal(get(0x6100, 4), 0x44332211);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x6004);
    assert_int_equal(bench.v.gpr[GPR_RCX], 77); /* no REP */
}

static void test_direction_flag(void **state)
{
    (void)state;
    put(0x5000, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_DF);
    bench.v.gpr[GPR_RSI] = 0x5006;
    bench.v.gpr[GPR_RCX] = 4;
    assert_int_equal(string_io(REP, 2, A32, 0), OUTCOME_SKIP);
    assert_int_equal(sent_count, 4);
    assert_int_equal(sent[0], 0x0807);
    assert_int_equal(sent[3], 0x0201);
    assert_int_equal(bench.v.gpr[GPR_RSI], 0x4ffe);
    assert_int_equal(bench.v.gpr[GPR_RCX], 0);
}

static void test_rep_with_count_zero_does_nothing(void **state)
{
    (void)state;
    bench.v.gpr[GPR_RCX] = 0xffff0000;
    bench.v.gpr[GPR_RDI] = 0x5000;
    assert_int_equal(string_io(REP | IN, 1, A16, 0), OUTCOME_SKIP); /* CX is 0 */
    assert_int_equal(read_count, 0);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x5000);
    bench.v.gpr[GPR_RCX] = 0xffffffff00000000;
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_SKIP);
    assert_int_equal(read_count, 0);
}

/* DI and CX wrap within 16 bits, and the bits above stay; the segment's base does not. */
static void test_16_bit_addresses_wrap(void **state)
{
    (void)state;
    bench.v.gpr[GPR_RDI] = 0xabcd0000fffe;
    bench.v.gpr[GPR_RCX] = 0x12340004;
    assert_int_equal(string_io(REP | IN, 1, A16, 0x10000), OUTCOME_SKIP);
    assert_int_equal(get(0x1fffe, 1), 0x11);
    assert_int_equal(get(0x1ffff, 1), 0x12);
    assert_int_equal(get(0x10000, 1), 0x13);
    assert_int_equal(get(0x10001, 1), 0x14);
    assert_int_equal(get(0x20000, 1), 0);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0xabcd00000002);
    assert_int_equal(bench.v.gpr[GPR_RCX], 0x12340000);
    /* And downwards. */
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_DF);
    bench.v.gpr[GPR_RDI] = 0;
    bench.v.gpr[GPR_RCX] = 2;
    assert_int_equal(string_io(REP | IN, 1, A16, 0x10000), OUTCOME_SKIP);
    assert_int_equal(get(0x10000, 1), 0x15);
    assert_int_equal(get(0x1ffff, 1), 0x16);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0xfffe);
}

/* A 32-bit address size clears the upper halves (in 64-bit mode) and wraps at 4 GiB. */
static void test_32_bit_addresses_wrap(void **state)
{
    (void)state;
    bench.v.gpr[GPR_RDI] = 0x9999999900001000;
    bench.v.gpr[GPR_RCX] = 0x8888888800000001;
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x1001);
    assert_int_equal(bench.v.gpr[GPR_RCX], 0);
    /* With a base: linear addresses wrap at 4 GiB too outside 64-bit mode. */
    bench.v.gpr[GPR_RDI] = 0xfffffffe;
    bench.v.gpr[GPR_RCX] = 3;
    assert_int_equal(string_io(REP | IN, 1, A32, 0x3000), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RDI], 1);
    assert_int_equal(get(0x3000, 1), 0x14);
    /* So does an operand in two pages. */
    bench.v.gpr[GPR_RDI] = 0x1000;
    assert_int_equal(string_io(IN, 4, A32, 0xffffeffd), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x1004);
    assert_int_equal(get(0, 1), 0x44); /* the highest byte of four */
}

static void use_long_mode(void)
{
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    bench_set_efer(EFER_LME | EFER_LMA);
    VMCS_SET(GUEST_CR4, CR4_PAE | CR4_VMXE);
    put(0x30000, &(u64){0x31000 | 7}, 8);
    put(0x31000, &(u64){0x87}, 8); /* a page of 1 GByte */
    VMCS_SET(GUEST_CR3, 0x30000);
}

static void test_64_bit_addresses(void **state)
{
    (void)state;
    use_long_mode();
    bench.v.gpr[GPR_RDI] = 0x1000;
    bench.v.gpr[GPR_RCX] = 3;
    assert_int_equal(string_io(REP | IN, 4, A64, 0), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x100c);
    assert_int_equal(get(0x1008, 4), 0x44332213);
    bench.v.gpr[GPR_RCX] = 1ull << 32; /* counts with all 64 bits */
    bench.v.gpr[GPR_RDI] = 0x1000;
    assert_int_equal(string_io(REP | IN, 1, A64, 0), OUTCOME_RESUME);
    assert_int_equal(bench.v.gpr[GPR_RCX] + (bench.v.gpr[GPR_RDI] - 0x1000), 1ull << 32);
}

/* A long REP goes on at the same RIP after a while, so that events get their turn; the sum is exact. */
static void test_long_rep_comes_in_pieces(void **state)
{
    u32 pieces = 0;

    (void)state;
    bench.v.gpr[GPR_RDI] = 0x10000;
    bench.v.gpr[GPR_RCX] = 1000;
    for (enum outcome outcome = OUTCOME_RESUME; outcome != OUTCOME_SKIP; pieces++)
        outcome = string_io(REP | IN, 2, A32, 0);
    assert_true(pieces > 2 && pieces < 20);
    assert_int_equal(read_count, 1000);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x10000 + 2000);
    for (u32 i = 0; i < 1000; i++)
        assert_int_equal(get(0x10000 + 2 * i, 2), (0x2211 + i) & 0xffff);
}

/* Nor does it last longer than some microseconds. */
static void test_slow_rep_comes_in_pieces(void **state)
{
    (void)state;
    slow_ticks = 1250;
    bench.v.gpr[GPR_RDI] = 0x10000;
    bench.v.gpr[GPR_RCX] = 100;
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_RESUME);
    assert_int_equal(read_count, 5);
    assert_int_equal(bench.v.gpr[GPR_RCX], 95);
}

/* A full console refuses: the instruction runs again, whole or from that iteration on. */
static void test_a_refused_write_is_restarted(void **state)
{
    (void)state;
    refuses = bench.vm.write_effect = true;
    assert_int_equal(io(0, 1, PORT), OUTCOME_RESUME);
    assert_true(vmcs_read(GUEST_RFLAGS) & RFLAGS_RF);
    bench.vm.write_effect = true;
    bench.v.gpr[GPR_RSI] = 0x10000;
    bench.v.gpr[GPR_RCX] = 3;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    assert_int_equal(string_io(REP, 1, A32, 0), OUTCOME_RESUME);
    assert_true(vmcs_read(GUEST_RFLAGS) & RFLAGS_RF);
    assert_int_equal(bench.v.gpr[GPR_RSI], 0x10000);
    assert_int_equal(bench.v.gpr[GPR_RCX], 3);
    refuses = false;
    bench.vm.write_effect = true;
    assert_int_equal(string_io(REP, 1, A32, 0), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RCX], 0);
}

static void test_request_interrupts_rep(void **state)
{
    (void)state;
    request_after_each = true;
    bench.v.gpr[GPR_RDI] = 0x5000;
    bench.v.gpr[GPR_RCX] = 2;
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_RESUME);
    assert_int_equal(read_count, 1);
    assert_int_equal(bench.v.gpr[GPR_RCX], 1);
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RCX], 0);
}

/* 32-bit paging: page directory 0x20000, table 0x21000; identity, but for page 0x6000. */
static void use_paging(u32 entry_of_6000)
{
    u32 directory = 0x21007;

    put(0x20000, &directory, 4);
    for (u32 page = 0; page < 16; page++) {
        u32 entry = page == 6 ? entry_of_6000 : page << 12 | 7;
        put(0x21000 + 4 * page, &entry, 4);
    }
    VMCS_SET(GUEST_CR3, 0x20000);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG | CR0_NE | CR0_WP);
}

/* The page is missing: what came before is done and counted, the device is not read in vain, #PF has the address. */
static void test_page_fault_in_the_middle(void **state)
{
    (void)state;
    use_paging(0);
    bench.v.gpr[GPR_RDI] = 0x5ffc;
    bench.v.gpr[GPR_RCX] = 8;
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_RESUME);
    assert_int_equal(read_count, 4);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x6000);
    assert_int_equal(bench.v.gpr[GPR_RCX], 4);
    assert_int_equal(fake_cpu.cr2, 0x6000);
    bench_assert_exception(VECTOR_PF, 2);
    use_paging(0x6007); /* the guest's handler has brought it */
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_SKIP);
    assert_int_equal(read_count, 8);
    for (u32 i = 0; i < 8; i++)
        assert_int_equal(get(0x5ffc + i, 1), 0x11 + i);
}

/* An operand across the boundary: all or nothing, and again the device is not read before it is known to fit. */
static void test_page_fault_within_an_operand(void **state)
{
    (void)state;
    use_paging(0);
    bench.v.gpr[GPR_RSI] = 0x5ffe;
    assert_int_equal(string_io(0, 4, A32, 0), OUTCOME_RESUME);
    assert_int_equal(sent_count, 0);
    assert_int_equal(fake_cpu.cr2, 0x6000);
    bench_assert_exception(VECTOR_PF, 0);
    bench.v.gpr[GPR_RDI] = 0x5ffe;
    assert_int_equal(string_io(IN, 4, A32, 0), OUTCOME_RESUME);
    assert_int_equal(read_count, 0);
    assert_int_equal(get(0x5ffe, 2), 0);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x5ffe);
    bench_assert_exception(VECTOR_PF, 2);
}

/* A read-only page: INS faults, OUTS does not. */
static void test_page_rights(void **state)
{
    (void)state;
    use_paging(0x6005);
    bench.v.gpr[GPR_RDI] = bench.v.gpr[GPR_RSI] = 0x6000;
    assert_int_equal(string_io(IN, 1, A32, 0), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 3);
    assert_int_equal(string_io(0, 1, A32, 0), OUTCOME_SKIP);
    assert_int_equal(sent_count, 1);
    assert_int_equal(stops, 0);
}

/* Outside 64-bit mode: limit and type of the segment, which the CPU leaves to us. SDM 3C 25.1.1 */
static void test_segment_checks(void **state)
{
    static const struct {
        u32 limit, rights, offset;
        bool out, in; /* whether OUTSD and INSD get through */
    } cases[] = {
        {0x103,  0x4093,  0x100,  true,  true },
        {0x102,  0x4093,  0x100,  false, false},
        {0x0fff, 0x4091,  0x100,  true,  false}, /* read-only */
        {0x0fff, 0x409b,  0x100,  true,  false}, /* code that can be read */
        {0x0fff, 0x4099,  0x100,  false, false}, /* code that cannot */
        {0xffff, 0x10093, 0x100,  false, false}, /* null */
        {0x0ff,  0x4097,  0x100,  true,  true }, /* expand-down */
        {0x100,  0x4097,  0x100,  false, false},
        {0x0ff,  0x0097,  0xfffc, true,  true },
        {0x0ff,  0x0097,  0xfffd, false, false},
    };
    static const enum decode_segment segments[] = {DECODE_DS, DECODE_SS, DECODE_ES};

    (void)state;
    for (u32 i = 0; i < 3 * ARRAY_SIZE(cases); i++) {
        enum decode_segment segment = segments[i % 3];
        u32 n = i / 3;
        set_up(state);
        VMCS_SET(GUEST_ES_LIMIT, cases[n].limit);
        VMCS_SET(GUEST_DS_LIMIT, cases[n].limit);
        VMCS_SET(GUEST_SS_LIMIT, cases[n].limit);
        VMCS_SET(GUEST_ES_ACCESS, cases[n].rights);
        VMCS_SET(GUEST_DS_ACCESS, cases[n].rights);
        VMCS_SET(GUEST_SS_ACCESS, cases[n].rights);
        bench.v.gpr[GPR_RSI] = bench.v.gpr[GPR_RDI] = cases[n].offset;
        bench.v.gpr[GPR_RCX] = 0;
        assert_int_equal(string_io_at(REP, 4, A32, segment), OUTCOME_SKIP); /* nothing is accessed */
        bench_assert_no_exception();
        assert_int_equal(string_io_at(0, 4, A32, segment), cases[n].out ? OUTCOME_SKIP : OUTCOME_RESUME);
        if (!cases[n].out)
            bench_assert_exception(segment == DECODE_SS ? VECTOR_SS : VECTOR_GP, 0);
        bench_assert_no_exception();
        assert_int_equal(string_io_at(IN, 4, A32, segment), cases[n].in ? OUTCOME_SKIP : OUTCOME_RESUME);
        if (!cases[n].in)
            bench_assert_exception(VECTOR_GP, 0);
        bench_assert_no_exception();
        assert_int_equal(sent_count + read_count, cases[n].out + cases[n].in);
        assert_int_equal(bench.v.gpr[GPR_RDI], cases[n].offset + (cases[n].in ? 4 : 0));
    }
}

/* What was done before the limit is done: REP goes on there after the fault. */
static void test_limit_in_the_middle(void **state)
{
    (void)state;
    VMCS_SET(GUEST_ES_LIMIT, 0x1003);
    bench.v.gpr[GPR_RDI] = 0x1000;
    bench.v.gpr[GPR_RCX] = 8;
    assert_int_equal(string_io(REP | IN, 1, A16, 0x4000), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    assert_int_equal(read_count, 4);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x1004);
    assert_int_equal(bench.v.gpr[GPR_RCX], 4);
    assert_int_equal(get(0x5003, 1), 0x14);
    assert_int_equal(get(0x5004, 1), 0);
}

/* In 64-bit mode limits, types and the bases but of FS and GS do not count; each byte's address must be canonical. */
static void test_segments_in_64_bit_mode(void **state)
{
    (void)state;
    use_long_mode();
    VMCS_SET(GUEST_ES_ACCESS, 0x10000);
    VMCS_SET(GUEST_DS_ACCESS, 0x10000);
    VMCS_SET(GUEST_ES_BASE, 0x100000);
    VMCS_SET(GUEST_DS_BASE, 0x100000);
    VMCS_SET(GUEST_FS_BASE, 0x2000);
    put(0x5000, "\x01\x02\x03\x04", 4);
    put(0x7000, "\x05\x06\x07\x08", 4);
    bench.v.gpr[GPR_RSI] = 0x5000;
    assert_int_equal(string_io_at(0, 4, A64, DECODE_DS), OUTCOME_SKIP);
    assert_int_equal(sent[0], 0x04030201);
    bench.v.gpr[GPR_RSI] = 0x5000;
    assert_int_equal(string_io_at(0, 4, A64, DECODE_FS), OUTCOME_SKIP);
    assert_int_equal(sent[1], 0x08070605);
    static const u64 wild[] = {0x800000000000, 0x7ffffffffffd, 0xffff7fffffffffff, 0xffff7ffffffffffe};
    for (u32 i = 0; i < ARRAY_SIZE(wild); i++) {
        bench.v.gpr[GPR_RSI] = bench.v.gpr[GPR_RDI] = wild[i];
        assert_int_equal(string_io_at(0, 4, A64, DECODE_DS), OUTCOME_RESUME);
        bench_assert_exception(VECTOR_GP, 0);
        assert_int_equal(string_io_at(IN, 4, A64, DECODE_DS), OUTCOME_RESUME);
        bench_assert_exception(VECTOR_GP, 0);
    }
    assert_int_equal(read_count, 0);
}

/* At CPL 3 with CR0.AM and RFLAGS.AC; a page fault comes first. SDM 3A 6.9, table 6-2 */
static void test_alignment_checks(void **state)
{
    (void)state;
    use_paging(0);
    bench.v.gpr[GPR_RSI] = bench.v.gpr[GPR_RDI] = 0x5001;
    for (u32 without = 0; without < 4; without++) {
        VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG | CR0_NE | (without == 1 ? 0 : CR0_AM));
        VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | (without == 2 ? 0 : RFLAGS_AC));
        VMCS_SET(GUEST_SS_ACCESS, without == 3 ? 0xc0b3 : 0xc0f3);
        bench.v.gpr[GPR_RSI] = bench.v.gpr[GPR_RDI] = 0x5001;
        assert_int_equal(string_io(0, 1, A32, 0), OUTCOME_SKIP); /* a byte is never misaligned */
        bench.v.gpr[GPR_RSI] = 0x5001;
        assert_int_equal(string_io(0, 2, A32, 0), without ? OUTCOME_SKIP : OUTCOME_RESUME);
        if (!without)
            bench_assert_exception(VECTOR_AC, 0);
        assert_int_equal(string_io(IN, 4, A32, 0), without ? OUTCOME_SKIP : OUTCOME_RESUME);
        if (!without)
            bench_assert_exception(VECTOR_AC, 0);
    }
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_AC);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG | CR0_NE | CR0_AM);
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3);
    bench.v.gpr[GPR_RSI] = 0x6001;
    assert_int_equal(string_io(0, 2, A32, 0), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 4);
}

#define PENDING vmcs_read(GUEST_PENDING_DEBUG)

/* The breakpoints of a vCPU that has used its debug registers: I/O in DR0, a write in DR1. */
static void use_breakpoints(void)
{
    vmx_points_begin(&bench.v);
    fake_cpu.dr0 = PORT;
    fake_cpu.dr1 = 0x5002;
    VMCS_SET(GUEST_DR7, 0x400 | 2 << 16 | 1u << 20);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_DE);
    VMCS_SET(EXIT_REASON, 30);
}

/* Behind each iteration but the last a trap is due here, and behind the last when RIP moves on: run.c. */
static void test_breakpoints_of_string_io(void **state)
{
    (void)state;
    use_breakpoints();
    bench.v.gpr[GPR_RDI] = 0x5000;
    bench.v.gpr[GPR_RCX] = 4;
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_SKIP); /* none is enabled */
    assert_int_equal(PENDING, 0);

    VMCS_SET(GUEST_DR7, vmcs_read(GUEST_DR7) | 8); /* G1 */
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS);
    bench.v.gpr[GPR_RDI] = 0x5000;
    bench.v.gpr[GPR_RCX] = 4;
    assert_int_equal(string_io(REP | IN, 1, A32, 0), OUTCOME_RESUME);
    assert_int_equal(bench.v.gpr[GPR_RCX], 1);
    assert_int_equal(PENDING, PENDING_DEBUG_ENABLED | 2);
    assert_true(vmcs_read(GUEST_RFLAGS) & RFLAGS_RF);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    assert_true(bench.v.base.windows & EVENT_TRAP_FIRST);

    set_up(state);
    use_breakpoints();
    VMCS_SET(GUEST_DR7, vmcs_read(GUEST_DR7) | 1); /* L0 */
    bench.v.gpr[GPR_RSI] = 0x5000;
    bench.v.gpr[GPR_RCX] = 2;
    assert_int_equal(string_io(REP, 1, A32, 0), OUTCOME_RESUME);
    assert_int_equal(sent_count, 1);
    assert_int_equal(PENDING, PENDING_DEBUG_ENABLED | 1);
    VMCS_SET(GUEST_PENDING_DEBUG, 0);
    assert_int_equal(string_io(REP, 1, A32, 0), OUTCOME_SKIP);
    assert_int_equal(PENDING, 0);
    assert_true(vmx_points_finish(&bench.v, false));
    assert_int_equal(PENDING, PENDING_DEBUG_ENABLED | 1);
    VMCS_SET(GUEST_PENDING_DEBUG, 0);
    assert_int_equal(string_io(REP, 1, A32, 0), OUTCOME_SKIP); /* nothing left: no port is accessed */
    assert_false(vmx_points_finish(&bench.v, false));
    assert_int_equal(PENDING, 0);
}

/* What faults has met nothing. */
static void test_no_breakpoint_by_a_fault(void **state)
{
    (void)state;
    use_breakpoints();
    VMCS_SET(GUEST_DR7, vmcs_read(GUEST_DR7) | 8);
    VMCS_SET(GUEST_ES_LIMIT, 0x5002);
    bench.v.gpr[GPR_RDI] = 0x5002;
    assert_int_equal(string_io(IN, 2, A32, 0), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    assert_int_equal(bench.v.points_met, 0);
    assert_int_equal(PENDING, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_in_keeps_what_the_width_leaves, set_up),
        cmocka_unit_test_setup(test_in_from_nothing_reads_ones, set_up),
        cmocka_unit_test_setup(test_out_sends_the_width, set_up),
        cmocka_unit_test_setup(test_single_string_instructions, set_up),
        cmocka_unit_test_setup(test_direction_flag, set_up),
        cmocka_unit_test_setup(test_rep_with_count_zero_does_nothing, set_up),
        cmocka_unit_test_setup(test_16_bit_addresses_wrap, set_up),
        cmocka_unit_test_setup(test_32_bit_addresses_wrap, set_up),
        cmocka_unit_test_setup(test_64_bit_addresses, set_up),
        cmocka_unit_test_setup(test_long_rep_comes_in_pieces, set_up),
        cmocka_unit_test_setup(test_request_interrupts_rep, set_up),
        cmocka_unit_test_setup(test_slow_rep_comes_in_pieces, set_up),
        cmocka_unit_test_setup(test_a_refused_write_is_restarted, set_up),
        cmocka_unit_test_setup(test_page_fault_in_the_middle, set_up),
        cmocka_unit_test_setup(test_page_fault_within_an_operand, set_up),
        cmocka_unit_test_setup(test_page_rights, set_up),
        cmocka_unit_test_setup(test_segment_checks, set_up),
        cmocka_unit_test_setup(test_limit_in_the_middle, set_up),
        cmocka_unit_test_setup(test_segments_in_64_bit_mode, set_up),
        cmocka_unit_test_setup(test_alignment_checks, set_up),
        cmocka_unit_test_setup(test_breakpoints_of_string_io, set_up),
        cmocka_unit_test_setup(test_no_breakpoint_by_a_fault, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
