/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * EPT violations from exit to device: each kind of load and store twice, the second time from its slot; and that a slot
 * is never used once code, page tables or mode have changed. SDM 3C 28.2.3.2 "EPT Violations".
 *
 * links: vmx/exit/mmio.c vmx/exit/mmio_general.c vmx/insn/guest.c vmx/insn/guest_physical.c vmx/insn/gva.c
 * vmx/insn/decode.c vmx/insn/emulate.c vmx/event.c vmx/points.c vmx/apicv.c vmx/controls.c kernel/vm/bus.c
 * kernel/vm/memory.c kernel/vm/layer.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"

#include "kernel/lib/format.h"
#include "test/fake/host_memory.h"
#include "test/fake/vm_bus.h"
#include "vmx/fetch.h"
#include "arch/x86/xsave.h"
#include "vmx/insn/guest.h"
#include "vmx/insn/vector.h"
#include "vmx/exit/mmio.h"
#include "vmx/points.h"

#define DEVICE 0xfed00000ull
#define CODE   0x8000ull /* where most tests put their instruction, linear and physical */
#define HIT    0x55u     /* a length that no instruction has: mark() */

static u8 registers[0x2000 + 16]; /* of the device */
static u32 reads, writes, stops;
static u8 last_bytes;
static char stop_detail[VM_DETAIL_BYTES];
static enum vm_stop_reason stop_reason;

static bool fetch_is_memory; /* the fetch was from a large page */
static u64 vectors[16][4];

void vector_read(u32 index, u64 value[4], bool wide)
{
    memcpy(value, vectors[index], wide ? 32 : 16);
}

void vector_write(u32 index, const u64 value[4], bool wide)
{
    memcpy(vectors[index], value, wide ? 32 : 16);
}

bool xsave_is_available(void)
{
    return true;
}

bool vmx_fetch_violation(struct vmx_vcpu *v, u64 qualification, enum outcome *outcome)
{
    assert_ptr_equal(v, &bench.v);
    assert_true(qualification & VIOLATION_FETCH);
    *outcome = OUTCOME_RESUME;
    return fetch_is_memory;
}

static bool is_layered; /* and the page is there */
static u64 cow_qualification;

bool vmx_cow_violation(struct vmx_vcpu *v, u64 qualification, enum outcome *outcome)
{
    assert_ptr_equal(v, &bench.v);
    cow_qualification = qualification;
    *outcome = OUTCOME_RESUME;
    return is_layered;
}

static u64 device_read(void *device, u64 offset, u8 bytes)
{
    u64 value = 0xa5a5a5a5a5a5a5a5; /* above `bytes`: must not matter */

    (void)device;
    memcpy(&value, registers + offset, bytes);
    last_bytes = bytes;
    reads++;
    return value;
}

static void device_write(void *device, u64 offset, u8 bytes, u64 value)
{
    (void)device;
    assert_int_equal(value & ~bits_mask_of_bytes(bytes), 0);
    memcpy(registers + offset, &value, bytes);
    last_bytes = bytes;
    writes++;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    va_list arguments;

    (void)vm;
    va_start(arguments, detail);
    format_list(stop_detail, sizeof stop_detail, detail, arguments);
    va_end(arguments);
    stop_reason = reason;
    stops++;
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
    assert_int_equal(bus_add_memory(&bench.vm.bus, gpa(DEVICE), 0x2000, 8, &ops, NULL), STATUS_OK);
    for (u32 i = 0; i < sizeof registers; i++)
        registers[i] = (u8)(0x80 + i * 3 + i / 256);
    for (u32 i = 0; i < 16; i++)
        bench.v.gpr[i] = 0x1111111111111111u * i;
    reads = writes = stops = 0;
    VMCS_SET(GUEST_RIP, CODE);
    return 0;
}

static void put(u64 address, const void *bytes, u64 count)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(address), bytes, count), STATUS_OK);
}

static void put_entry(u64 address, u64 value)
{
    put(address, &value, 8);
}

static u64 get(u64 address, u8 bytes)
{
    u64 value = 0;
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(address), &value, bytes), STATUS_OK);
    return value;
}

#define CODE_AT(address, ...)                                                                                          \
    do {                                                                                                               \
        static const u8 code_[] = {__VA_ARGS__};                                                                       \
        put(address, code_, sizeof code_);                                                                             \
    } while (0)

/* The exit that an access to `linear` makes, which is mapped to `physical`; READ, WRITE or both. */
static enum outcome violate(u64 linear, u64 physical, u64 access)
{
    VMCS_SET(EXIT_QUALIFICATION, access | VIOLATION_LINEAR_VALID | VIOLATION_FINAL);
    VMCS_SET(GUEST_LINEAR_ADDRESS, linear);
    VMCS_SET(GUEST_PHYSICAL_ADDRESS, physical);
    bench.v.skip_bytes = 0;
    trace_last()->rip = vmcs_read(GUEST_RIP);
    return vmx_ept_violation_exit(&bench.v, trace_last());
}

static struct mmio_slot *slot(void)
{
    return &bench.v.mmio[mmio_slot_index(vmcs_read(GUEST_RIP))];
}

/* Makes the use of the slot visible: the instruction's length comes out wrong. */
static void mark(void)
{
    slot()->insn.length = HIT;
}

/* Makes it visible that the device was asked straight away: only one byte of a load comes through. */
static void assert_shortcut(u64 linear, u64 physical, unsigned reg)
{
    slot()->value_mask = 0xff;
    bench.v.gpr[reg] = ~0ull;
    assert_int_equal(violate(linear, physical, VIOLATION_READ), OUTCOME_SKIP_DECODED);
    assert_int_equal(bench.v.gpr[reg], registers[physical - DEVICE]);
}

#define assert_done(outcome, length)                                                                                   \
    do {                                                                                                               \
        assert_int_equal(outcome, OUTCOME_SKIP_DECODED);                                                               \
        assert_int_equal(bench.v.skip_bytes, length);                                                                  \
        assert_int_equal(stops, 0);                                                                                    \
        bench_assert_no_exception();                                                                                   \
    } while (0)

static u64 device_value(u64 offset, u8 bytes)
{
    u64 value = 0;
    memcpy(&value, registers + offset, bytes);
    return value;
}

/* ---- modes ---- */

static void set_64_bit(u64 cr3)
{
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    bench_set_efer(EFER_LMA | EFER_LME);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    VMCS_SET(GUEST_CR3, cr3);
}

#define P_W_A 0x23ull

/* Tables at `root` and the three pages after it: linear CODE is physical `code`, linear DEVICE is itself. */
static void build_4_levels(u64 root, u64 code)
{
    put_entry(root, (root + 0x1000) | P_W_A);
    put_entry(root + 0x1000, (root + 0x2000) | P_W_A);
    put_entry(root + 0x1000 + 8 * (DEVICE >> 30), (DEVICE & ~(GIB(1) - 1)) | 0x80 | P_W_A);
    put_entry(root + 0x2000, (root + 0x3000) | P_W_A);
    put_entry(root + 0x3000 + 8 * (CODE >> 12), code | P_W_A);
    put_entry(root + 0x3000 + 8 * 0x20, 0x20000 | P_W_A);
}

/* ---- each kind of load and store, by the general path and from the slot ---- */

static const struct {
    u8 code[12];
    u8 length;
    u8 width;
    bool store;
    bool shortcut;
    u8 reg;
    u64 kept; /* of the register's old value, by a load */
    bool sign;
} kinds[] = {
    {{0x8b, 0x98, 0x10, 0, 0, 0},                      6,  4, false, true,  3,  0,                  false}, /* mov ebx,[rax+16] */
    {{0x48, 0x8b, 0x58, 0x10},                         4,  8, false, true,  3,  0,                  false},
    {{0x66, 0x8b, 0x58, 0x10},                         4,  2, false, true,  3,  0xffffffffffff0000, false},
    {{0x8a, 0x58, 0x10},                               3,  1, false, true,  3,  0xffffffffffffff00, false},
    {{0x44, 0x8a, 0x48, 0x10},                         4,  1, false, true,  9,  0xffffffffffffff00, false},
    {{0x0f, 0xb6, 0x58, 0x10},                         4,  1, false, true,  3,  0,                  false}, /* movzx */
    {{0x66, 0x0f, 0xb6, 0x58, 0x10},                   5,  1, false, true,  3,  0xffffffffffff0000, false},
    {{0x48, 0x0f, 0xb7, 0x58, 0x10},                   5,  2, false, true,  3,  0,                  false},
    {{0x48, 0x0f, 0xbe, 0x58, 0x10},                   5,  1, false, true,  3,  0,                  true }, /* movsx */
    {{0x0f, 0xbf, 0x58, 0x10},                         4,  2, false, true,  3,  0,                  true },
    {{0x48, 0x63, 0x58, 0x10},                         4,  4, false, true,  3,  0,                  true }, /* movsxd */
    {{0x66, 0x0f, 0xbe, 0x58, 0x10},                   5,  1, false, true,  3,  0xffffffffffff0000, true },
    {{0x8b, 0x5c, 0x48, 0x10},                         4,  4, false, true,  3,  0,                  false}, /* [rax+rcx*2+16] */
    {{0x48, 0xa1, 0x10, 0x00, 0xd0, 0xfe, 0, 0, 0, 0}, 10, 8, false, true,  0,  0,                  false}, /* moffs */
    {{0x8a, 0x60, 0x10},                               3,  1, false, false, 0,  0xffffffffffff00ff, false}, /* mov ah */
    {{0x8b, 0x60, 0x10},                               3,  4, false, false, 4,  0,                  false}, /* mov esp */
    {{0x89, 0x58, 0x10},                               3,  4, true,  true,  3,  0,                  false},
    {{0x48, 0x89, 0x58, 0x10},                         4,  8, true,  true,  3,  0,                  false},
    {{0x66, 0x89, 0x58, 0x10},                         4,  2, true,  true,  3,  0,                  false},
    {{0x40, 0x88, 0x78, 0x10},                         4,  1, true,  true,  7,  0,                  false}, /* dil */
    {{0x48, 0x89, 0x60, 0x10},                         4,  8, true,  false, 4,  0,                  false}, /* rsp */
    {{0x44, 0x89, 0x78, 0x10},                         4,  4, true,  true,  15, 0,                  false},
};

static u64 extended(u64 value, u8 bytes, bool sign)
{
    unsigned shift = 64 - 8 * bytes;
    return sign ? (u64)((s64)(value << shift) >> shift) : value;
}

static void check_load(u32 at, u64 old)
{
    u64 value = extended(device_value(0x10, kinds[at].width), kinds[at].width, kinds[at].sign);
    bool high = kinds[at].kept == 0xffffffffffff00ff;
    bool is_32 = kinds[at].kept == 0 && !(kinds[at].code[0] == 0x48);

    if (high)
        value <<= 8;
    if (is_32)
        value = (u32)value;
    value = (value & ~kinds[at].kept) | (old & kinds[at].kept);
    u64 got = kinds[at].reg == GPR_RSP ? vmcs_read(GUEST_RSP) : bench.v.gpr[kinds[at].reg];
    assert_true(got == value);
}

static void run_kind(u32 at, bool marked)
{
    for (u32 i = 0; i < 16; i++)
        bench.v.gpr[i] = 0xf1e1d1c1b1a19181 * (i + 1);
    bench.v.gpr[GPR_RAX] = DEVICE;
    bench.v.gpr[GPR_RCX] = 0;
    VMCS_SET(GUEST_RSP, 0x7766554433221100);
    bench.v.gpr[GPR_RSP] = 0xdead; /* the VMCS has it */
    u64 old = bench.v.gpr[kinds[at].reg];
    memset(registers + 0x10, 0x9c, 16);
    registers[0x11] = 0xe7;

    u64 access = kinds[at].store ? VIOLATION_WRITE : VIOLATION_READ;
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, access), marked ? HIT : kinds[at].length);
    assert_int_equal(last_bytes, kinds[at].width);
    if (!kinds[at].store) {
        check_load(at, old);
        return;
    }
    u64 written = kinds[at].reg == GPR_RSP ? 0x7766554433221100 : bench.v.gpr[kinds[at].reg];
    assert_true(device_value(0x10, kinds[at].width) == (written & bits_mask_of_bytes(kinds[at].width)));
    assert_int_equal(registers[0x10 + kinds[at].width], kinds[at].width == 1 ? 0xe7 : 0x9c);
}

static void test_each_kind_twice(void **state)
{
    for (u32 i = 0; i < ARRAY_SIZE(kinds); i++) {
        set_up(state);
        set_64_bit(0x10000);
        build_4_levels(0x10000, CODE);
        put(CODE, kinds[i].code, sizeof kinds[i].code);
        run_kind(i, false);
        assert_int_equal(slot()->needs != MMIO_NO_SHORTCUT, kinds[i].shortcut);
        run_kind(i, false);
        mark();
        run_kind(i, true);
        assert_int_equal(reads, kinds[i].store ? 0 : 3);
        assert_int_equal(writes, kinds[i].store ? 3 : 0);
        assert_int_equal(fake_vmcs_trapped_count(), 0);
    }
}

static void test_stores_of_immediates(void **state)
{
    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    bench.v.gpr[GPR_RAX] = DEVICE;
    CODE_AT(CODE, 0x48, 0xc7, 0x40, 0x10, 0xfe, 0xff, 0xff, 0xff); /* mov qword [rax+16], -2 */
    for (u32 i = 0; i < 2; i++) {
        memset(registers, 0, 64);
        assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_WRITE), 8);
        assert_true(device_value(0x10, 8) == ~1ull);
    }
    CODE_AT(CODE, 0xc6, 0x40, 0x10, 0xfe); /* mov byte */
    for (u32 i = 0; i < 2; i++) {
        memset(registers, 0, 64);
        assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_WRITE), 4);
        assert_true(device_value(0x10, 8) == 0xfe);
    }
}

/* RIP-relative, FS-based, with a 32-bit address: where the operand lies must not depend on who computes it. */
static void test_addressing_from_the_slot(void **state)
{
    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    CODE_AT(CODE, 0x8b, 0x1d, 0x0a, 0x80, 0xcf, 0xfe); /* mov ebx, [rip + ...]: sign-extended, below 0 */
    u64 linear = CODE + 6 + 0xfffffffffecf800aull;
    VMCS_SET(GUEST_DS_BASE, 0x777000); /* does not count in 64-bit mode */
    for (u32 i = 0; i < 2; i++)
        assert_done(violate(linear, DEVICE + 0x10, VIOLATION_READ), 6);
    assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 4));
    assert_shortcut(linear, DEVICE + 0x10, GPR_RBX);

    CODE_AT(CODE, 0x64, 0x67, 0x8b, 0x58, 0x10); /* mov ebx, fs:[eax+16] */
    VMCS_SET(GUEST_FS_BASE, 0x100000000);
    bench.v.gpr[GPR_RAX] = 0xffffffff00000000 | DEVICE;
    for (u32 i = 0; i < 2; i++) {
        bench.v.gpr[GPR_RBX] = 0;
        assert_done(violate(0x100000000 + DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), 5);
        assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 4));
    }
    assert_shortcut(0x100000000 + DEVICE + 0x10, DEVICE + 0x10, GPR_RBX);
}

static void test_segment_bases_outside_64_bit_mode(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CS_BASE, 0x6000); /* CODE is at 0x2000 in it */
    VMCS_SET(GUEST_RIP, 0x2000);
    VMCS_SET(GUEST_DS_BASE, 0xff000000);
    bench.v.gpr[GPR_RAX] = DEVICE + 0x1000000; /* base and offset wrap at 4 GiB */
    CODE_AT(CODE, 0x8b, 0x58, 0x10);
    for (u32 i = 0; i < 2; i++) {
        bench.v.gpr[GPR_RBX] = ~0ull;
        assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 4));
    }
    assert_shortcut(DEVICE + 0x10, DEVICE + 0x10, GPR_RBX);
    VMCS_SET(GUEST_CS_BASE, 0x7000); /* other code at the same offset */
    CODE_AT(CODE + 0x1000, 0x8b, 0x48, 0x10);
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), 3);
    assert_int_equal(bench.v.gpr[GPR_RCX], device_value(0x10, 4));
}

/* ---- what makes a slot void ---- */

static u64 load_ebx_or_ecx(u8 *length)
{
    bench.v.gpr[GPR_RAX] = DEVICE;
    bench.v.gpr[GPR_RBX] = bench.v.gpr[GPR_RCX] = 0;
    assert_int_equal(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), OUTCOME_SKIP_DECODED);
    *length = bench.v.skip_bytes;
    return bench.v.gpr[GPR_RBX] ? GPR_RBX : bench.v.gpr[GPR_RCX] ? GPR_RCX : GPR_RSP;
}

#define MOV_EBX 0x8b, 0x58, 0x10
#define MOV_ECX 0x8b, 0x48, 0x10

static void assert_loads(unsigned reg, u8 length)
{
    u8 got;
    assert_int_equal(load_ebx_or_ecx(&got), reg);
    assert_int_equal(got, length);
}

static void test_code_changes(void **state)
{
    (void)state;
    CODE_AT(CODE, MOV_EBX, 0xf4);
    assert_loads(GPR_RBX, 3);
    mark();
    assert_loads(GPR_RBX, HIT);
    CODE_AT(CODE + 3, 0x90); /* behind it: of no interest */
    assert_loads(GPR_RBX, HIT);
    CODE_AT(CODE, MOV_ECX);
    assert_loads(GPR_RCX, 3);
    mark();
    assert_loads(GPR_RCX, HIT);
    /* Each byte of a long one: mov dword [eax + disp32], imm32 with a prefix, 11 bytes. */
    static const u8 code[] = {0x3e, 0xc7, 0x80, 0x10, 0, 0, 0, 0x44, 0x33, 0x22, 0x11};
    put(CODE, code, sizeof code);
    for (u32 i = 7; i < sizeof code; i++) {
        u8 changed = 0xee;
        put(CODE, code, sizeof code);
        assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_WRITE), 11);
        assert_int_equal(device_value(0x10, 4), 0x11223344);
        put(CODE + i, &changed, 1);
        assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_WRITE), 11);
        assert_int_equal(registers[0x10 + i - 7], 0xee);
    }
}

/* Any entry on the way to the code may change: the code is then other code. */
static void test_page_tables_change(void **state)
{
    static const u64 entries[] = {0x10000, 0x11000, 0x12000, 0x13000 + 8 * (CODE >> 12)};

    for (u32 i = 0; i < 4; i++) {
        set_up(state);
        set_64_bit(0x10000);
        build_4_levels(0x10000, CODE);
        build_4_levels(0x30000, 0x9000);
        CODE_AT(CODE, MOV_EBX);
        CODE_AT(0x9000, MOV_ECX);
        assert_loads(GPR_RBX, 3);
        mark();
        assert_loads(GPR_RBX, HIT);
        put_entry(entries[i], get(entries[i] + 0x20000, 8));
        assert_loads(GPR_RCX, 3);
        mark();
        assert_loads(GPR_RCX, HIT);
    }
}

static void test_page_tables_of_32_bits_change(void **state)
{
    for (u32 level = 0; level < 2; level++) {
        set_up(state);
        VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG);
        VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PSE);
        VMCS_SET(GUEST_CR3, 0x10000);
        u32 directory = 0x11000 | P_W_A, device = 0xfec00000 | 0x80 | P_W_A, page = CODE | P_W_A,
            other = 0x9000 | P_W_A;
        u32 second = 0x12000 | P_W_A;
        put(0x10000, &directory, 4);
        put(0x10000 + 4 * (DEVICE >> 22), &device, 4);
        put(0x11000 + 4 * (CODE >> 12), &page, 4);
        put(0x12000 + 4 * (CODE >> 12), &other, 4);
        CODE_AT(CODE, MOV_EBX);
        CODE_AT(0x9000, MOV_ECX);
        assert_loads(GPR_RBX, 3);
        mark();
        assert_loads(GPR_RBX, HIT);
        if (level == 0)
            put(0x10000, &second, 4);
        else
            put(0x11000 + 4 * (CODE >> 12), &other, 4);
        assert_loads(GPR_RCX, 3);
    }
}

static void test_another_cr3(void **state)
{
    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    build_4_levels(0x30000, 0x9000);
    CODE_AT(CODE, MOV_EBX);
    CODE_AT(0x9000, MOV_ECX);
    assert_loads(GPR_RBX, 3);
    mark();
    put_entry(0x50000, get(0x10000, 8)); /* another process: its top table begins alike */
    VMCS_SET(GUEST_CR3, 0x50000 | 0x8000000000000005);
    assert_loads(GPR_RBX, HIT);
    put_entry(0x10000, 0); /* the first one's is of no interest now */
    assert_loads(GPR_RBX, HIT);
    VMCS_SET(GUEST_CR3, 0x30000);
    assert_loads(GPR_RCX, 3);
    mark();
    VMCS_SET(GUEST_CR3, 0x50000);
    assert_loads(GPR_RBX, 3);
    VMCS_SET(GUEST_CR3, 0xfffff000000); /* no RAM: ones are reserved bits */
    assert_int_equal(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), OUTCOME_RESUME);
    assert_int_equal(bench.v.exception.info & 0xff, VECTOR_PF);
}

/* Two instructions that share a slot take turns. */
static void test_two_instructions_in_one_slot(void **state)
{
    u64 other = CODE + 3;

    (void)state;
    while (mmio_slot_index(other) != mmio_slot_index(CODE))
        other++;
    CODE_AT(CODE, MOV_EBX);
    CODE_AT(other, MOV_ECX);
    for (u32 i = 0; i < 2; i++) {
        VMCS_SET(GUEST_RIP, CODE);
        assert_loads(GPR_RBX, 3);
        mark();
        assert_loads(GPR_RBX, HIT);
        VMCS_SET(GUEST_RIP, other);
        assert_loads(GPR_RCX, 3);
    }
}

/* The same bytes at the same address mean something else in another mode. */
static void test_another_mode(void **state)
{
    (void)state;
    CODE_AT(CODE, 0x8b, 0x1d, 0x10, 0x00, 0xd0, 0xfe); /* mov ebx, [disp32]; 16 bits: mov bx, [di] */
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), 6);
    assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 4));
    bench.v.gpr[GPR_RBX] = 0;
    bench.v.gpr[GPR_RDI] = 0x18;
    VMCS_SET(GUEST_CS_ACCESS, 0x809b);
    VMCS_SET(GUEST_DS_BASE, DEVICE);
    assert_done(violate(DEVICE + 0x18, DEVICE + 0x18, VIOLATION_READ), 2);
    assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x18, 2));
}

/* Paging is turned on, or read otherwise, with all else as it was: the code is elsewhere. */
static void test_paging_changes(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR3, 0x10000);
    u32 directory = 0x11000 | 0x80 | P_W_A; /* PS, which counts with CR4.PSE only: then reserved bits are set */
    u32 device = 0xfec00000 | 0x80 | P_W_A, page = 0x9000 | P_W_A;
    put(0x10000, &directory, 4);
    put(0x10000 + 4 * (DEVICE >> 22), &device, 4);
    put(0x11000 + 4 * (CODE >> 12), &page, 4);
    CODE_AT(CODE, MOV_EBX);
    CODE_AT(0x9000, MOV_ECX);
    assert_loads(GPR_RBX, 3);
    mark();
    assert_loads(GPR_RBX, HIT);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE);
    assert_loads(GPR_RCX, 3);
    mark();
    assert_loads(GPR_RCX, HIT);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_TS); /* does not matter */
    assert_loads(GPR_RCX, HIT);
    directory = 0 | 0x80 | P_W_A; /* a large page, from 0 on */
    put(0x10000, &directory, 4);
    put(0 + 4 * (CODE >> 12), &page, 4); /* without PSE: a table at 0 */
    assert_loads(GPR_RCX, 3);
    mark();
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PSE);
    assert_loads(GPR_RBX, 3);
}

/* PAE paging and the end of a page are not kept, and right all the same. */
static void test_what_is_not_kept(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_PG);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    VMCS_SET(GUEST_PDPTE0, 0x12000 | 1);
    VMCS_SET(GUEST_PDPTE3, 0x14000 | 1);
    put_entry(0x12000, 0x13000 | P_W_A);
    put_entry(0x13000 + 8 * (CODE >> 12), CODE | P_W_A);
    put_entry(0x14000 + 8 * (DEVICE >> 21 & 511), (DEVICE & ~(MIB(2) - 1)) | 0x80 | P_W_A);
    CODE_AT(CODE, MOV_EBX);
    assert_loads(GPR_RBX, 3);
    mark();
    assert_loads(GPR_RBX, 3);

    set_up(state);
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    put_entry(0x13000 + 8 * (CODE >> 12) + 8, 0x5000 | P_W_A); /* the next page is elsewhere */
    for (u32 at = 0xff0; at < 0x1000; at++) {
        static const u8 code[] = {MOV_EBX};
        for (u32 i = 0; i < sizeof code; i++)
            put(at + i < 0x1000 ? CODE + at + i : 0x5000 + at + i - 0x1000, code + i, 1);
        VMCS_SET(GUEST_RIP, CODE + at);
        assert_loads(GPR_RBX, 3);
        mark();
        assert_loads(GPR_RBX, at == 0xff0 ? HIT : 3);
    }
}

/* ---- an access that is not the whole of what the slot's instruction does ---- */

static void test_crossing_pages(void **state)
{
    (void)state;
    CODE_AT(CODE, 0x8b, 0x58, 0x00); /* mov ebx, [eax] */
    bench.v.gpr[GPR_RAX] = DEVICE + 0x20;
    assert_done(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_READ), 3);
    bench.v.gpr[GPR_RAX] = DEVICE + 0xffe;
    u64 value = device_value(0xffe, 4);
    for (u32 i = 0; i < 2; i++) { /* the violation may be at either half */
        bench.v.gpr[GPR_RBX] = 0;
        u64 where = DEVICE + (i ? 0x1000 : 0xffe);
        assert_done(violate(where, where, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], value);
    }
    /* The first half is RAM, the second a device: what begins a page need not begin the operand. */
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    put_entry(0x13000 + 8 * 0x21, DEVICE | P_W_A);
    CODE_AT(0x20ffe, 0x11, 0x22);
    bench.v.gpr[GPR_RAX] = 0x20ffe;
    for (u32 i = 0; i < 2; i++) {
        bench.v.gpr[GPR_RBX] = 0;
        assert_done(violate(0x21000, DEVICE, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], 0x2211 | device_value(0, 2) << 16);
    }
    /* Both halves are the device's, the other way round. */
    put_entry(0x13000 + 8 * 0x21, (DEVICE + 0x1000) | P_W_A);
    put_entry(0x13000 + 8 * 0x22, DEVICE | P_W_A);
    bench.v.gpr[GPR_RAX] = 0x21ffe;
    for (u32 i = 0; i < 2; i++) {
        bench.v.gpr[GPR_RBX] = 0;
        assert_done(violate(i ? 0x22000 : 0x21ffe, i ? DEVICE : DEVICE + 0x1ffe, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x1ffe, 2) | device_value(0, 2) << 16);
    }
}

/* Another CPU has replaced the instruction since this one executed it: what is there now runs, where it says. */
static void test_another_access_than_the_instruction_makes(void **state)
{
    (void)state;
    CODE_AT(CODE, MOV_EBX);
    assert_loads(GPR_RBX, 3);
    bench.v.gpr[GPR_RBX] = 0;
    assert_done(violate(DEVICE + 0x30, DEVICE + 0x30, VIOLATION_READ), 3);
    assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 4));
    bench.v.gpr[GPR_RBX] = 0;
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_WRITE), 3);
    assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 4));
}

/* The CPU has checked a read; a store in its place is not allowed on this page. */
static void test_store_where_the_cpu_checked_a_load(void **state)
{
    u64 entry = 0x11000 + 8 * (DEVICE >> 30);

    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    CODE_AT(CODE, 0x89, 0x58, 0x10); /* mov [rax+16], ebx */
    bench.v.gpr[GPR_RAX] = DEVICE;
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_WRITE), 3);
    put_entry(entry, get(entry, 8) & ~2ull);
    assert_int_equal(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 3);
    assert_int_equal(writes, 1);
}

/* Read-modify-write, with the two ways in which a CPU may report it; the operand's page is mapped nowhere now. */
static void test_read_modify_write_needs_no_walk(void **state)
{
    static const u64 accesses[] = {VIOLATION_WRITE, VIOLATION_READ | VIOLATION_WRITE};

    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    CODE_AT(CODE, 0xf0, 0x0f, 0xba, 0x68, 0x10, 0x03); /* lock bts dword [rax+16], 3 */
    bench.v.gpr[GPR_RAX] = 0x40000000;                 /* linear */
    for (u32 i = 0; i < 4; i++) {
        memset(registers, 0, 64);
        assert_done(violate(0x40000010, DEVICE + 0x10, accesses[i / 2]), 6);
        assert_int_equal(device_value(0x10, 4), 8);
    }
    /* For a read alone the CPU has not checked that it may write. */
    assert_int_equal(violate(0x40000010, DEVICE + 0x10, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 2);
    assert_int_equal(fake_cpu.cr2, 0x40000010);
}

/* A string's other operand is in memory: its page becomes accessed and dirty, as if the CPU had written it. */
static void test_string_sets_accessed_and_dirty(void **state)
{
    u64 entry = 0x13000 + 8 * 0x20;

    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    put_entry(entry, 0x20000 | 3);
    CODE_AT(CODE, 0xf3, 0xa5); /* rep movsd */
    bench.v.gpr[GPR_RSI] = DEVICE;
    bench.v.gpr[GPR_RDI] = 0x20000;
    bench.v.gpr[GPR_RCX] = 3;
    for (u32 i = 0; i < 2; i++)
        assert_int_equal(violate(DEVICE + 4 * i, DEVICE + 4 * i, VIOLATION_READ), OUTCOME_RESUME);
    assert_done(violate(DEVICE + 8, DEVICE + 8, VIOLATION_READ), 2);
    for (u32 i = 0; i < 3; i++)
        assert_int_equal(get(0x20000 + 4 * i, 4), device_value(4 * i, 4));
    assert_int_equal(get(entry, 8), 0x20000 | 0x63);
    assert_int_equal(reads, 3);
}

/* Read-only, not present, beyond a limit: RAM that a string's other operand lies in faults, and no device is asked. */
static void test_string_whose_other_operand_faults(void **state)
{
    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    put_entry(0x13000 + 8 * 0x20, 0x20000 | 1);
    CODE_AT(CODE, 0xf3, 0xa5); /* rep movsd */
    bench.v.gpr[GPR_RSI] = DEVICE;
    bench.v.gpr[GPR_RDI] = 0x20000;
    bench.v.gpr[GPR_RCX] = 3;
    assert_int_equal(violate(DEVICE, DEVICE, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 3);
    assert_int_equal(fake_cpu.cr2, 0x20000);
    bench.v.gpr[GPR_RDI] = 0x21000;
    assert_int_equal(violate(DEVICE, DEVICE, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 2);
    bench.v.gpr[GPR_RDI] = 0x7ffffffffffe;
    assert_int_equal(violate(DEVICE, DEVICE, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    assert_int_equal(bench.v.gpr[GPR_RCX], 3);

    set_up(state);
    VMCS_SET(GUEST_DS_ACCESS, 0xc093);
    VMCS_SET(GUEST_DS_LIMIT, UINT32_MAX);
    VMCS_SET(GUEST_ES_ACCESS, 0x4093);
    VMCS_SET(GUEST_ES_LIMIT, 0x20002);
    VMCS_SET(GUEST_SS_ACCESS, 0x4093);
    VMCS_SET(GUEST_SS_LIMIT, 0x20002);
    CODE_AT(CODE, 0xa5);
    bench.v.gpr[GPR_RSI] = DEVICE;
    bench.v.gpr[GPR_RDI] = 0x20000;
    assert_int_equal(violate(DEVICE, DEVICE, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    CODE_AT(CODE, 0x36, 0xa7); /* cmpsd from SS */
    bench.v.gpr[GPR_RSI] = 0x20000;
    bench.v.gpr[GPR_RDI] = DEVICE;
    VMCS_SET(GUEST_ES_ACCESS, 0xc093);
    VMCS_SET(GUEST_ES_LIMIT, UINT32_MAX);
    assert_int_equal(violate(DEVICE, DEVICE, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_SS, 0);
    assert_int_equal(reads + writes + stops, 0);
}

#define XMM_ENABLED (CR4_VMXE | CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE)

/* 16 and 32 bytes are accesses of 8, in rising order; what lies above 16 stays, or becomes 0 with VEX. */
static void test_vectors(void **state)
{
    (void)state;
    set_64_bit(0x10000);
    build_4_levels(0x10000, CODE);
    VMCS_SET(GUEST_CR4, XMM_ENABLED);
    fake_cpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    bench.v.gpr[GPR_RAX] = DEVICE;
    memset(vectors, 0xee, sizeof vectors);
    CODE_AT(CODE, 0x0f, 0x28, 0x58, 0x10); /* movaps xmm3, [rax+16] */
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), 4);
    assert_memory_equal(vectors[3], registers + 0x10, 16);
    assert_int_equal(vectors[3][2], 0xeeeeeeeeeeeeeeee);
    assert_int_equal(reads, 2);
    assert_int_equal(last_bytes, 8);
    CODE_AT(CODE, 0xc5, 0xfe, 0x6f, 0x58, 0x20); /* vmovdqu ymm3, [rax+32] */
    assert_done(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_READ), 5);
    assert_memory_equal(vectors[3], registers + 0x20, 32);
    CODE_AT(CODE, 0xc5, 0xfa, 0x6f, 0x58, 0x10); /* vmovdqu xmm3, [rax+16] */
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), 5);
    assert_memory_equal(vectors[3], registers + 0x10, 16);
    assert_int_equal(vectors[3][2] | vectors[3][3], 0);
    CODE_AT(CODE, 0xc5, 0x7e, 0x7f, 0x48, 0x40); /* vmovdqu [rax+64], ymm9 */
    assert_done(violate(DEVICE + 0x40, DEVICE + 0x40, VIOLATION_WRITE), 5);
    assert_memory_equal(vectors[9], registers + 0x40, 32);
    assert_int_equal(writes, 4);

    /* Across two pages, of which the second is read-only: nothing is written. */
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    put_entry(0x13000 + 8 * 0x21, DEVICE | P_W_A);
    put_entry(0x13000 + 8 * 0x22, 0x20000 | 1);
    bench.v.gpr[GPR_RAX] = 0x21ff0 - 0x40;
    assert_int_equal(violate(0x21ff0, DEVICE + 0xff0, VIOLATION_WRITE), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 3);
    assert_int_equal(fake_cpu.cr2, 0x22000);
    assert_int_equal(writes, 4);
}

/* Checked again, since another CPU may have put the instruction there: we must not raise these ourselves. */
static void test_vectors_that_are_not_enabled(void **state)
{
    static const struct {
        u64 cr0, cr4, xcr0;
        u8 sse, avx; /* the exception, 0: none */
    } cases[] = {
        {0,      XMM_ENABLED,                7, 0,         0        },
        {CR0_TS, XMM_ENABLED,                7, VECTOR_NM, VECTOR_NM},
        {CR0_EM, XMM_ENABLED,                7, VECTOR_UD, 0        },
        {0,      XMM_ENABLED & ~CR4_OSFXSR,  7, VECTOR_UD, 0        },
        {0,      XMM_ENABLED & ~CR4_OSXSAVE, 7, 0,         VECTOR_UD},
        {0,      XMM_ENABLED,                3, 0,         VECTOR_UD},
        {CR0_TS, XMM_ENABLED,                3, VECTOR_NM, VECTOR_UD},
    };

    (void)state;
    for (u32 i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
        u8 vector = i & 1 ? cases[i / 2].avx : cases[i / 2].sse;
        set_up(state);
        set_64_bit(0x10000);
        build_4_levels(0x10000, CODE);
        VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | cases[i / 2].cr0);
        VMCS_SET(GUEST_CR4, cases[i / 2].cr4);
        fake_cpu.xcr0 = cases[i / 2].xcr0;
        bench.v.gpr[GPR_RAX] = DEVICE;
        if (i & 1)
            CODE_AT(CODE, 0xc5, 0xf8, 0x28, 0x58, 0x10); /* vmovaps xmm3, [rax+16] */
        else
            CODE_AT(CODE, 0x0f, 0x28, 0x58, 0x10);
        enum outcome outcome = violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ);
        assert_int_equal(outcome, vector ? OUTCOME_RESUME : OUTCOME_SKIP_DECODED);
        if (vector)
            bench_assert_exception(vector, 0);
        assert_int_equal(reads, vector ? 0 : 2);
    }
    VMCS_SET(GUEST_CR4, XMM_ENABLED);
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) & ~CR0_TS);
    bench.v.gpr[GPR_RAX] = DEVICE + 8;
    CODE_AT(CODE, 0x0f, 0x28, 0x58, 0x10);
    assert_int_equal(violate(DEVICE + 0x18, DEVICE + 0x18, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
}

static void test_smsw(void **state)
{
    (void)state;
    VMCS_SET(CR0_MASK, CR0_NE | CR0_CD);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_TS);
    VMCS_SET(CR0_SHADOW, CR0_ET);
    CODE_AT(CODE, 0x0f, 0x01, 0x60, 0x10); /* smsw [eax+16] */
    bench.v.gpr[GPR_RAX] = DEVICE;
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_WRITE), 4);
    assert_int_equal(last_bytes, 2);
    assert_int_equal(device_value(0x10, 2), CR0_PE | CR0_ET | CR0_TS);
}

/* Outside 64-bit mode, with a stack in a device or an operand there. */
static void test_stack(void **state)
{
    (void)state;
    VMCS_SET(GUEST_SS_ACCESS, 0xc093);
    VMCS_SET(GUEST_SS_LIMIT, UINT32_MAX);
    VMCS_SET(GUEST_DS_ACCESS, 0xc093);
    VMCS_SET(GUEST_DS_LIMIT, UINT32_MAX);
    VMCS_SET(GUEST_CS_LIMIT, 0xffff);
    VMCS_SET(GUEST_RSP, DEVICE + 0x24);
    bench.v.gpr[GPR_RBX] = 0x1234;
    CODE_AT(CODE, 0x53); /* push ebx */
    assert_done(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_WRITE), 1);
    assert_int_equal(device_value(0x20, 4), 0x1234);
    assert_int_equal(vmcs_read(GUEST_RSP), DEVICE + 0x20);
    CODE_AT(CODE, 0xc3); /* ret */
    assert_done(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_READ), 0x1234 - CODE);
    assert_int_equal(vmcs_read(GUEST_RSP), DEVICE + 0x24);
    CODE_AT(CODE, 0xe8, 0xfb, 0xff, 0x00, 0x00); /* call beyond the limit of CS */
    assert_int_equal(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_WRITE), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    assert_int_equal(device_value(0x20, 4), 0x1234);
    VMCS_SET(GUEST_SS_LIMIT, 0x1001);
    VMCS_SET(GUEST_RSP, 0x1004);
    bench.v.gpr[GPR_RAX] = DEVICE;
    CODE_AT(CODE, 0xff, 0x70, 0x20); /* push dword [eax+32] */
    assert_int_equal(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_READ), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_SS, 0);
    VMCS_SET(GUEST_RSP, 0x1002);
    assert_done(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_READ), 3);
    assert_int_equal(get(0xffe, 4), 0x1234);
    assert_int_equal(vmcs_read(GUEST_RSP), 0xffe);
    CODE_AT(CODE, 0xff, 0x60, 0x20); /* jmp [eax+32] */
    assert_done(violate(DEVICE + 0x20, DEVICE + 0x20, VIOLATION_READ), 0x1234 - CODE);
    VMCS_SET(GUEST_SS_ACCESS, 0x0093); /* SP alone */
    VMCS_SET(GUEST_RSP, 0xabcd0ffe);
    CODE_AT(CODE, 0x8f, 0x40, 0x30); /* pop dword [eax+48] */
    assert_done(violate(DEVICE + 0x30, DEVICE + 0x30, VIOLATION_WRITE), 3);
    assert_int_equal(device_value(0x30, 4), 0x1234);
    assert_int_equal(vmcs_read(GUEST_RSP), 0xabcd1002);
}

/* A slot's shortcut does not look for breakpoints, so there is none; RAM and devices are watched alike. */
static void test_breakpoints(void **state)
{
    (void)state;
    CODE_AT(CODE, MOV_EBX);
    assert_loads(GPR_RBX, 3);
    vmx_points_begin(&bench.v);
    fake_cpu.dr0 = DEVICE + 0x10;
    fake_cpu.dr1 = 0x20004;
    VMCS_SET(GUEST_DR7, 0x400 | 1 | 3 << 16 | 3 << 18 | 4 | 1 << 20); /* accesses to the device, writes to RAM */
    for (u32 i = 0; i < 3; i++) {
        assert_loads(GPR_RBX, 3);
        assert_int_equal(bench.v.points_met, 1);
    }
    CODE_AT(CODE, 0xf3, 0xa5); /* rep movsd */
    VMCS_SET(GUEST_DS_ACCESS, 0xc093);
    VMCS_SET(GUEST_ES_ACCESS, 0xc093);
    VMCS_SET(GUEST_DS_LIMIT, UINT32_MAX);
    VMCS_SET(GUEST_ES_LIMIT, UINT32_MAX);
    bench.v.gpr[GPR_RSI] = DEVICE;
    bench.v.gpr[GPR_RDI] = 0x20000;
    bench.v.gpr[GPR_RCX] = 3;
    assert_int_equal(violate(DEVICE, DEVICE, VIOLATION_READ), OUTCOME_RESUME);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
    assert_int_equal(violate(DEVICE + 4, DEVICE + 4, VIOLATION_READ), OUTCOME_RESUME);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_ENABLED | 2);
    assert_true(vmcs_read(GUEST_RFLAGS) & RFLAGS_RF);
    assert_done(violate(DEVICE + 8, DEVICE + 8, VIOLATION_READ), 2);
    assert_int_equal(bench.v.points_met, 0);
}

/* TF: a trap behind each iteration, here behind those that are not the last. SDM 3B 17.3.1.4 */
static void test_steps_through_a_string(void **state)
{
    (void)state;
    CODE_AT(CODE, 0xf3, 0xab); /* rep stosd */
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    bench.v.gpr[GPR_RDI] = DEVICE;
    bench.v.gpr[GPR_RCX] = 2;
    assert_int_equal(violate(DEVICE, DEVICE, VIOLATION_WRITE), OUTCOME_RESUME);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_SINGLE_STEP);
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_ONE | RFLAGS_TF | RFLAGS_RF);
    VMCS_SET(GUEST_PENDING_DEBUG, 0);
    assert_done(violate(DEVICE + 4, DEVICE + 4, VIOLATION_WRITE), 2);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0); /* run.c's */
}

static enum outcome execute(void)
{
    trace_last()->rip = vmcs_read(GUEST_RIP);
    return vmx_mmio_execute(&bench.v, trace_last());
}

/* An exit that tells nothing about the access: what an EPT violation left behind does not count. */
static void test_exit_without_an_address(void **state)
{
    (void)state;
    CODE_AT(CODE, MOV_EBX);
    assert_loads(GPR_RBX, 3);
    VMCS_SET(GUEST_PHYSICAL_ADDRESS, DEVICE + 0x40);
    bench.v.gpr[GPR_RBX] = 0;
    assert_done(execute(), 3);
    assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 4));
    mark();
    assert_done(execute(), HIT);
    CODE_AT(CODE, MOV_ECX);
    assert_done(execute(), 3);
    assert_int_equal(bench.v.gpr[GPR_RCX], device_value(0x10, 4));
}

/* ---- who answers ---- */

static void test_apic_page(void **state)
{
    (void)state;
    bench.apic_base = 0xfee00900;
    bench.v.gpr[GPR_RAX] = 0xfee00000;
    bench.v.gpr[GPR_RBX] = 0;
    CODE_AT(CODE, 0x89, 0x98, 0xb0, 0, 0, 0); /* mov [eax+0xb0], ebx */
    for (u32 i = 0; i < 2; i++) {
        bench.apic_written = 0;
        assert_done(violate(0xfee000b0, 0xfee000b0, VIOLATION_WRITE), 6);
        assert_true(bench.apic_written == 0xb0ull << 32);
    }
    static const u64 elsewhere[] = {0xfee00d00, 0xfee00100, 0xfee00500, 0xfef00900}; /* x2APIC, off, moved */
    for (u32 i = 0; i < ARRAY_SIZE(elsewhere); i++) {
        bench.apic_base = elsewhere[i];
        bench.apic_written = 0;
        assert_done(violate(0xfee000b0, 0xfee000b0, VIOLATION_WRITE), 6);
        assert_int_equal(bench.apic_written, 0);
    }
    bench.apic_base = DEVICE | 0x900; /* moved over the device */
    bench.v.gpr[GPR_RAX] = DEVICE;
    assert_done(violate(DEVICE + 0xb0, DEVICE + 0xb0, VIOLATION_WRITE), 6);
    assert_true(bench.apic_written == 0xb0ull << 32);
    assert_int_equal(writes, 0);
}

static void test_rom_and_nothing(void **state)
{
    (void)state;
    bench.v.gpr[GPR_RAX] = 0xe0000 - 0x10;
    CODE_AT(CODE, 0x89, 0x58, 0x10); /* mov [eax+16], ebx */
    CODE_AT(0xe0000, 1, 2, 3, 4);
    for (u32 i = 0; i < 2; i++)
        assert_done(violate(0xe0000, 0xe0000, VIOLATION_WRITE), 3);
    assert_int_equal(get(0xe0000, 4), 0x04030201);
    CODE_AT(CODE, MOV_EBX);
    bench.v.gpr[GPR_RAX] = 0xd0000;
    for (u32 i = 0; i < 2; i++) {
        assert_done(violate(0xd0010, 0xd0010, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], 0xffffffff);
    }
    assert_int_equal(reads + writes, 0);
}

static void assert_strays(u32 count, u64 address, u64 rip)
{
    assert_int_equal(bench.v.strays, count);
    assert_int_equal(bench.v.stray_address, address);
    assert_int_equal(bench.v.stray_rip, rip);
}

/* What nobody has is counted, and where the first was: data, code, page tables; not ROM, not a device's rest. */
static void test_strays_are_counted(void **state)
{
    static const struct bus_ops ops = {device_read, device_write};

    (void)state;
    assert_int_equal(bus_add_memory(&bench.vm.bus, gpa(0xfec00000), 0x12, 2, &ops, NULL), STATUS_OK);
    CODE_AT(CODE, MOV_EBX);
    bench.v.gpr[GPR_RAX] = 0xfec00000;
    assert_done(violate(0xfec00010, 0xfec00010, VIOLATION_READ), 3); /* two bytes of it are the device's */
    bench.v.gpr[GPR_RAX] = DEVICE;
    assert_done(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), 3);
    CODE_AT(CODE, 0x89, 0x58, 0x10); /* mov [eax+16], ebx */
    bench.v.gpr[GPR_RAX] = 0xe0000 - 0x10;
    assert_done(violate(0xe0000, 0xe0000, VIOLATION_WRITE), 3);
    assert_strays(0, 0, 0);
    bench.v.gpr[GPR_RAX] = 0x40000000 - 0x10;
    assert_done(violate(0x40000000, 0x40000000, VIOLATION_WRITE), 3);
    assert_strays(1, 0x40000000, CODE);
    VMCS_SET(GUEST_RIP, CODE + 0x100);
    CODE_AT(CODE + 0x100, 0xff, 0x00); /* inc dword [eax]: reads and writes */
    bench.v.gpr[GPR_RAX] = 0xd0000;
    assert_done(violate(0xd0000, 0xd0000, VIOLATION_READ | VIOLATION_WRITE), 2);
    assert_strays(3, 0x40000000, CODE);
    assert_int_equal(violate(0x50000000, 0x50000000, VIOLATION_FETCH), OUTCOME_RESUME);
    assert_strays(4, 0x40000000, CODE);
    bench_assert_exception(VECTOR_UD, 0);
}

/* A page table that nobody has reads all ones, which is #PF for the reserved bits. */
static void test_a_stray_page_table_is_counted(void **state)
{
    (void)state;
    CODE_AT(CODE, MOV_EBX);
    VMCS_SET(EXIT_QUALIFICATION, VIOLATION_READ | VIOLATION_LINEAR_VALID);
    VMCS_SET(GUEST_LINEAR_ADDRESS, 0x1000);
    VMCS_SET(GUEST_PHYSICAL_ADDRESS, 0x70000008);
    trace_last()->rip = CODE;
    (void)vmx_ept_violation_exit(&bench.v, trace_last());
    assert_strays(1, 0x70000008, CODE);
}

/* Wider than the device, or beyond its end: split, and ones beyond. */
static void test_device_that_is_narrow(void **state)
{
    static const struct bus_ops ops = {device_read, device_write};

    (void)state;
    assert_int_equal(bus_add_memory(&bench.vm.bus, gpa(0xfec00000), 0x14, 2, &ops, NULL), STATUS_OK);
    assert_int_equal(bus_add_memory(&bench.vm.bus, gpa(0xfeb00000), 0x12, 8, &ops, NULL), STATUS_OK);
    CODE_AT(CODE, MOV_EBX);
    for (u32 i = 0; i < 2; i++) {
        bench.v.gpr[GPR_RAX] = 0xfeb00000;
        assert_done(violate(0xfeb00010, 0xfeb00010, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x10, 2) | 0xffff0000);
        bench.v.gpr[GPR_RAX] = 0xfec00000 - 0x10;
        assert_done(violate(0xfec00000, 0xfec00000, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0, 4));
        assert_int_equal(last_bytes, 2);
        bench.v.gpr[GPR_RAX] = 0xfec00002;
        assert_done(violate(0xfec00012, 0xfec00012, VIOLATION_READ), 3);
        assert_int_equal(bench.v.gpr[GPR_RBX], device_value(0x12, 2) | 0xffff0000);
    }
}

/* ---- what is no operand, and what cannot be done ---- */

static void test_event_delivery_and_fetch(void **state)
{
    (void)state;
    CODE_AT(CODE, MOV_EBX);
    assert_loads(GPR_RBX, 3); /* a slot is there */
    VMCS_SET(IDT_VECTORING_INFO, 0x80000030);
    assert_int_equal(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), OUTCOME_STOP);
    assert_int_equal(stop_reason, VM_STOP_TRIPLE_FAULT);
    VMCS_SET(IDT_VECTORING_INFO, 0);
    assert_int_equal(violate(CODE, CODE, VIOLATION_FETCH), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_UD, 0);
    fetch_is_memory = true; /* also while an event is delivered: it comes again */
    VMCS_SET(IDT_VECTORING_INFO, 0x80000030);
    assert_int_equal(violate(CODE, CODE, VIOLATION_FETCH), OUTCOME_RESUME);
    bench_assert_no_exception();
    assert_int_equal(stops, 1);
    fetch_is_memory = false;
    assert_int_equal(reads, 1);
}

static void test_unsupported(void **state)
{
    (void)state;
    CODE_AT(CODE, 0x0f, 0x58, 0x40, 0x10, 0x90); /* addps xmm0, [eax+16] */
    for (u32 i = 1; i < 3; i++) {
        assert_int_equal(violate(DEVICE + 0x10, DEVICE + 0x10, VIOLATION_READ), OUTCOME_STOP);
        assert_int_equal(stops, i);
        assert_int_equal(stop_reason, VM_STOP_UNSUPPORTED_INSTRUCTION);
        assert_non_null(strstr(stop_detail, "rip=0x8000 bytes=0f58401090"));
        assert_non_null(strstr(stop_detail, "address=0xfed00010"));
    }
    assert_int_equal(reads, 0);
}

/* Whatever kind of access it is, a page of layered memory is mapped, and the instruction runs again. */
static void test_layered_memory_first(void **state)
{
    static const u64 qualifications[] = {VIOLATION_READ | VIOLATION_LINEAR_VALID | VIOLATION_FINAL,
                                         VIOLATION_WRITE | VIOLATION_LINEAR_VALID | VIOLATION_FINAL,
                                         VIOLATION_READ | VIOLATION_WRITE | VIOLATION_LINEAR_VALID, /* page tables */
                                         VIOLATION_FETCH | VIOLATION_LINEAR_VALID | VIOLATION_FINAL};
    struct trace_record record = {.rip = CODE};

    (void)state;
    is_layered = true;
    for (u32 i = 0; i < ARRAY_SIZE(qualifications); i++) {
        for (u32 delivery = 0; delivery < 2; delivery++) {
            VMCS_SET(EXIT_QUALIFICATION, qualifications[i]);
            VMCS_SET(GUEST_PHYSICAL_ADDRESS, MIB(1));
            VMCS_SET(IDT_VECTORING_INFO, delivery ? EVENT_VALID | 0x20 : 0);
            cow_qualification = 0;
            assert_int_equal(vmx_ept_violation_exit(&bench.v, &record), OUTCOME_RESUME);
            assert_int_equal(cow_qualification, qualifications[i]);
        }
    }
    is_layered = false;
    assert_int_equal(reads + writes + stops, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_kind_twice, set_up),
        cmocka_unit_test_setup(test_stores_of_immediates, set_up),
        cmocka_unit_test_setup(test_addressing_from_the_slot, set_up),
        cmocka_unit_test_setup(test_segment_bases_outside_64_bit_mode, set_up),
        cmocka_unit_test_setup(test_code_changes, set_up),
        cmocka_unit_test_setup(test_page_tables_change, set_up),
        cmocka_unit_test_setup(test_page_tables_of_32_bits_change, set_up),
        cmocka_unit_test_setup(test_another_cr3, set_up),
        cmocka_unit_test_setup(test_two_instructions_in_one_slot, set_up),
        cmocka_unit_test_setup(test_another_mode, set_up),
        cmocka_unit_test_setup(test_paging_changes, set_up),
        cmocka_unit_test_setup(test_what_is_not_kept, set_up),
        cmocka_unit_test_setup(test_crossing_pages, set_up),
        cmocka_unit_test_setup(test_another_access_than_the_instruction_makes, set_up),
        cmocka_unit_test_setup(test_store_where_the_cpu_checked_a_load, set_up),
        cmocka_unit_test_setup(test_read_modify_write_needs_no_walk, set_up),
        cmocka_unit_test_setup(test_string_sets_accessed_and_dirty, set_up),
        cmocka_unit_test_setup(test_string_whose_other_operand_faults, set_up),
        cmocka_unit_test_setup(test_vectors, set_up),
        cmocka_unit_test_setup(test_vectors_that_are_not_enabled, set_up),
        cmocka_unit_test_setup(test_smsw, set_up),
        cmocka_unit_test_setup(test_stack, set_up),
        cmocka_unit_test_setup(test_breakpoints, set_up),
        cmocka_unit_test_setup(test_steps_through_a_string, set_up),
        cmocka_unit_test_setup(test_exit_without_an_address, set_up),
        cmocka_unit_test_setup(test_apic_page, set_up),
        cmocka_unit_test_setup(test_rom_and_nothing, set_up),
        cmocka_unit_test_setup(test_strays_are_counted, set_up),
        cmocka_unit_test_setup(test_a_stray_page_table_is_counted, set_up),
        cmocka_unit_test_setup(test_device_that_is_narrow, set_up),
        cmocka_unit_test_setup(test_event_delivery_and_fetch, set_up),
        cmocka_unit_test_setup(test_unsupported, set_up),
        cmocka_unit_test_setup(test_layered_memory_first, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
