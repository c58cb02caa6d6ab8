/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * INS and OUTS through their exit with any segments, page tables, registers and breakpoints. Checked beyond what the
 * sanitizers see: registers and count go with what the port has seen, and a fault leaves them as they were. Input: the
 * VMCS's fields, the registers, then a page of low memory, where the page tables are.
 *
 * links: vmx/exit/io.c vmx/insn/guest.c vmx/insn/guest_physical.c vmx/insn/gva.c vmx/event.c vmx/points.c vmx/apicv.c
 * vmx/controls.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 * test/fake/host_memory.c
 *
 * libs: -lcmocka
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"

#include "test/fake/fuzz_input.h"
#include "test/fake/host_memory.h"
#include "test/fake/must.h"
#include "test/fake/vm_bus.h"
#include "vmx/exit/io.h"
#include "vmx/points.h"

#define PORT   0x320u
#define IN     8u
#define STRING 16u
#define REP    32u

static u32 transfers;

static u64 device_read(void *device, u64 offset, u8 bytes)
{
    (void)device;
    (void)offset;
    (void)bytes;
    transfers++;
    return 0x44332211;
}

static void device_write(void *device, u64 offset, u8 bytes, u64 value)
{
    (void)device;
    (void)offset;
    MUST(value >> 8 * bytes == 0);
    transfers++;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm;
    (void)detail;
    MUST(reason == VM_STOP_UNSUPPORTED_INSTRUCTION);
}

bool vm_write_effects(struct vcpu *vcpu)
{
    vcpu->vm->write_effect = false;
    return true;
}

/* Near an edge as often as anywhere. */
static u64 take_address(struct input *in)
{
    static const u64 edges[] = {0, 0x1000, 0x10000, 0x1ff000, 0x200000, 0xfffff000, 0x100000000, 0x800000000000, 0};
    u8 how = (u8)take(in, 1);
    u64 edge = edges[how % ARRAY_SIZE(edges)];
    return how & 0x80 ? take(in, 8) : edge + (u64)(s64)(s8)take(in, 1);
}

static void set_machine(struct input *in)
{
    static const u32 rights[] = {0xc093, 0x4093, 0x0093, 0x10093, 0xc091, 0x4097, 0x0097, 0xc09b, 0xc099, 0xc0f3};
    u8 mode = (u8)take(in, 1);
    u64 cr0 = CR0_PE | CR0_NE | (mode & 1 ? CR0_PG : 0) | (mode & 2 ? CR0_WP : 0) | (mode & 4 ? CR0_AM : 0);

    VMCS_SET(GUEST_CR0, cr0);
    VMCS_SET(GUEST_CR3, take(in, 2) << 12 & 0x3f000);
    VMCS_SET(GUEST_CR4, CR4_VMXE | (mode & 8 ? CR4_PAE : 0) | (mode & 16 ? CR4_SMAP | CR4_DE : 0) |
                            (mode & 32 ? CR4_PSE | CR4_PKE : 0));
    if ((mode & 0x49) == 0x49) {
        bench_set_efer(EFER_LME | EFER_LMA | EFER_NXE);
        VMCS_SET(GUEST_CS_ACCESS, mode & 0x80 ? 0xa09b : 0xc09b);
    } else if ((mode & 9) == 9) {
        VMCS_SET(GUEST_PDPTE0, take(in, 2) << 12 | 1);
        VMCS_SET(GUEST_PDPTE3, take(in, 2) << 12 | 1);
    }
    VMCS_SET(GUEST_ES_ACCESS, rights[take(in, 1) % ARRAY_SIZE(rights)]);
    VMCS_SET(GUEST_DS_ACCESS, rights[take(in, 1) % ARRAY_SIZE(rights)]);
    VMCS_SET(GUEST_SS_ACCESS, rights[take(in, 1) % ARRAY_SIZE(rights)]);
    VMCS_SET(GUEST_FS_ACCESS, rights[take(in, 1) % ARRAY_SIZE(rights)]);
    VMCS_SET(GUEST_ES_LIMIT, (u32)take_address(in) - 1);
    VMCS_SET(GUEST_DS_LIMIT, (u32)take_address(in) - 1);
    VMCS_SET(GUEST_SS_LIMIT, (u32)take_address(in) - 1);
    VMCS_SET(GUEST_FS_LIMIT, (u32)take_address(in) - 1);
    VMCS_SET(GUEST_ES_BASE, (u32)take_address(in));
    VMCS_SET(GUEST_DS_BASE, (u32)take_address(in));
    VMCS_SET(GUEST_FS_BASE, take_address(in));
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | (take(in, 3) & (RFLAGS_DF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF)));
    fake_cpu.pkru = (u32)take(in, 4);
    if (take(in, 1) & 1) {
        vmx_points_begin(&bench.v);
        fake_cpu.dr0 = take_address(in);
        fake_cpu.dr1 = PORT;
        VMCS_SET(GUEST_DR7, 0x400 | take(in, 4));
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct bus_ops ops = {device_read, device_write};
    static const u8 sizes[] = {1, 2, 4};
    static bool built;
    static struct guest_memory memory;
    struct input in = {data, size};
    struct refusal why;

    bench_start();
    if (!built) {
        host_memory_init(MIB(16), MIB(8));
        MUST(guest_memory_allocate(&memory, MIB(2), &why) == STATUS_OK);
        built = true;
    }
    bench.vm.memory = memory;
    bus_init(&bench.vm.bus);
    MUST(bus_add_ports(&bench.vm.bus, PORT, 4, 4, &ops, NULL) == STATUS_OK);
    set_machine(&in);
    u8 how = (u8)take(&in, 1);
    u8 bytes = sizes[how % 3];
    bool is_in = how & 4, repeat = how & 8;
    u32 address_size = take(&in, 1) % 3;
    u32 segment = take(&in, 1) % 5;
    u64 *index = &bench.v.gpr[is_in ? GPR_RDI : GPR_RSI];
    *index = take_address(&in);
    bench.v.gpr[GPR_RCX] = take(&in, 2) % 700;
    u64 count = bench.v.gpr[GPR_RCX], before = *index,
        mask = address_size == 0   ? 0xffff
               : address_size == 1 ? UINT32_MAX
                                   : ~0ull;
    static const u8 zeros[0x40000];
    u8 low[4096];
    u64 at = (take(&in, 1) & 0x3f) << 12;
    MUST(guest_memory_write(&bench.vm.memory, gpa(0), zeros, sizeof zeros) == STATUS_OK);
    size_t length = in.left < sizeof low ? in.left : sizeof low;
    memcpy(low, in.data, length);
    MUST(guest_memory_write(&bench.vm.memory, gpa(at), low, length) == STATUS_OK);
    VMCS_SET(EXIT_REASON, 30);
    VMCS_SET(EXIT_INSTRUCTION_INFO, address_size << 7 | segment << 15);
    VMCS_SET(EXIT_QUALIFICATION, PORT << 16 | STRING | (is_in ? IN : 0) | (repeat ? REP : 0) | (bytes - 1u));
    transfers = 0;

    enum outcome outcome = vmx_io_exit(&bench.v, trace_last());
    u64 step = vmcs_read(GUEST_RFLAGS) & RFLAGS_DF ? 0 - (u64)bytes : bytes;
    bool fault = bench.v.exception.info & EVENT_VALID;

    MUST(outcome == OUTCOME_SKIP || outcome == OUTCOME_RESUME || outcome == OUTCOME_STOP);
    MUST(!fault || outcome == OUTCOME_RESUME);
    MUST((*index & mask) == ((before + transfers * step) & mask));
    MUST(address_size != 0 || transfers == 0 || *index >> 16 == before >> 16);
    MUST(bench.v.gpr[GPR_RCX] == (repeat ? count - transfers : count));
    MUST(transfers <= (repeat ? count : 1));
    if (outcome == OUTCOME_SKIP)
        MUST(transfers == (repeat ? count : 1));
    if (!repeat && outcome == OUTCOME_RESUME)
        MUST(fault && transfers == 0);
    return 0;
}
