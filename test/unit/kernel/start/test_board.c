/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The board with its real devices and local APICs: who gets which message. VM and scheduler are counters. SDM 3A 10.6
 * "Issuing Interprocessor Interrupts".
 *
 * links: kernel/start/board.c drivers/virt/pc.c drivers/virt/pic.c drivers/virt/pit.c drivers/virt/uart.c
 * drivers/virt/cmos.c drivers/virt/i8042.c drivers/virt/power.c drivers/virt/crtc.c drivers/virt/pci.c
 *
 * links: drivers/virt/pm.c drivers/virt/vioapic.c drivers/virt/vhpet.c drivers/virt/vlapic.c
 * drivers/virt/vlapic_requests.c drivers/virt/vlapic_timer.c kernel/vm/bus.c kernel/vm/vtimer.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "drivers/virt/vioapic.h"
#include "drivers/virt/vlapic.h"
#include "kernel/console.h"
#include "kernel/load/load.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/sched/sched.h"
#include "kernel/start/board.h"
#include "kernel/start/life.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

#define CPUS      4u
#define COM1      0x3f8u
#define COM1_IRQ  4u
#define VECTOR    0x54
#define ICR_LEVEL 0x4000u /* assert: all but INIT level de-assert have it */
#define TO_ALL    0x80000u
#define TO_OTHERS 0xc0000u
#define LOGICAL   0x800u
#define NONE      (-1)

static struct vm vm;
static struct vcpu vcpus[CPUS];
static struct posted_requests posted[CPUS];
static u8 pages[CPUS * VLAPIC_PAGE_BYTES] ALIGNED(4096);
static void *room;
static bool delivers;
static const char *typed;
static char printed[16];
static struct {
    u32 events, posts, nmis, inits, sipis;
    u8 sipi_vector;
} told[CPUS];

/* ---- what the board calls ---- */

struct cpuid_result cpu_cpuid(u32 leaf, u32 subleaf)
{
    assert_int_equal(leaf, 0x80000008);
    assert_int_equal(subleaf, 0);
    return (struct cpuid_result){.eax = 0x3000 | 36};
}

void panic(const char *format, ...)
{
    print_error("panic: %s\n", format);
    abort();
}

void sched_notify(struct vcpu *vcpu, u32 requests)
{
    assert_int_equal(requests, VCPU_REQUEST_EVENT);
    told[vcpu->index].events++;
}

void sched_notify_posted(struct vcpu *vcpu)
{
    told[vcpu->index].posts++;
}

void vm_nmi(struct vcpu *vcpu)
{
    told[vcpu->index].nmis++;
}

void vm_init_vcpu(struct vcpu *vcpu)
{
    told[vcpu->index].inits++;
}

void vm_sipi(struct vcpu *vcpu, u8 vector)
{
    told[vcpu->index].sipis++;
    told[vcpu->index].sipi_vector = vector;
}

/* Each vCPU has another TSC. */
u64 vm_ns_of_guest_tsc(const struct vcpu *vcpu, u64 tsc)
{
    return tsc + 1000 * vcpu->index;
}

void vm_console_offer(struct vm *where, u8 character)
{
    assert_ptr_equal(where, &vm);
    printed[strlen(printed)] = (char)character;
}

void com2_put(u8 byte)
{
    (void)byte;
}

u32 com2_waiting(void)
{
    return 0;
}

int com2_read(const struct vm *of)
{
    assert_ptr_equal(of, &vm);
    return 'c';
}

int terminal_read(const struct vm *of)
{
    assert_ptr_equal(of, &vm);
    return *typed ? *typed++ : -1;
}

u64 clock_ns_scale = BIT(54), clock_tsc_scale = BIT(60); /* 1 GHz */

u64 clock_tsc_hz(void)
{
    return 1000000000;
}

u64 clock_wall_seconds(void)
{
    return 946684799; /* 1999-12-31 23:59:59 */
}

bool virt_delivers_interrupts(const struct vm *asked)
{
    (void)asked;
    return delivers;
}

static struct load_request loaded;

enum status load_image(const struct load_request *request, const struct guest_memory *memory, struct start_state *start,
                       enum image_kind *kind, struct refusal *why)
{
    assert_ptr_equal(memory, &vm.memory);
    loaded = *request;
    start->rip = 0x1234;
    *kind = IMAGE_PVH;
    return refuse(why, STATUS_INVALID, "as told");
}

static u32 printed_whole, printed_folded;

void trace_collect(const struct vm *of, struct trace_story *story)
{
    assert_ptr_equal(of, &vm);
    story->count = 2;
}

bool trace_print_oldest(struct trace_story *story, bool folded, const struct vm *of, void (*emit)(const char *text))
{
    assert_true(of == &vm && emit == log_text);
    printed_whole += story->count && !folded;
    printed_folded += story->count && folded;
    return story->count && story->count--;
}

void log_text(const char *text)
{
    (void)text;
}

void life_run_ended(struct vm *ended)
{
    (void)ended;
}

/* ---- the bench ---- */

static u64 clock_ns(void *clock)
{
    (void)clock;
    return 0;
}

static u64 apic_read(u32 cpu, u32 offset)
{
    return vcpus[cpu].apic.ops->read(vcpus[cpu].apic.device, offset, 4);
}

static void apic_write(u32 cpu, u32 offset, u32 value)
{
    vcpus[cpu].apic.ops->write(vcpus[cpu].apic.device, offset, 4, value);
}

static void send(u32 from, u8 destination, u32 command)
{
    apic_write(from, APIC_ICR_HIGH, (u32)destination << 24);
    apic_write(from, APIC_ICR, command | ICR_LEVEL);
}

static void redirect(u8 pin, u32 low, u8 destination)
{
    bus_write_memory(&vm.bus, gpa(VIOAPIC_ADDRESS), 4, 0x10 + 2u * pin + 1);
    bus_write_memory(&vm.bus, gpa(VIOAPIC_ADDRESS + 0x10), 4, (u32)destination << 24);
    bus_write_memory(&vm.bus, gpa(VIOAPIC_ADDRESS), 4, 0x10 + 2u * pin);
    bus_write_memory(&vm.bus, gpa(VIOAPIC_ADDRESS + 0x10), 4, low);
}

static void out(u16 port, u8 value)
{
    bus_write_port(&vm.bus, port, 1, value);
}

/* COM1's transmitter is empty: with this its line is high, without it low. */
static void raise_com1(bool level)
{
    out(COM1 + 4, 0x08); /* OUT2 */
    out(COM1 + 1, level ? 0x02 : 0);
}

static int pending(u32 cpu)
{
    return *vcpus[cpu].apic.pending;
}

static void assert_pending(int first, int second, int third, int fourth)
{
    const int wanted[CPUS] = {first, second, third, fourth};

    for (u32 i = 0; i < CPUS; i++)
        if (pending(i) != wanted[i])
            fail_msg("vCPU %u has vector %d pending, not %d", i, pending(i), wanted[i]);
}

static int start_with(bool cpu_delivers)
{
    delivers = cpu_delivers;
    typed = "";
    memset(&vm, 0, sizeof vm);
    memset(vcpus, 0, sizeof vcpus);
    memset(posted, 0, sizeof posted);
    memset(told, 0, sizeof told);
    memset(printed, 0, sizeof printed);
    bus_init(&vm.bus);
    vm.spec.cpus = CPUS;
    vm.spec.mem_bytes = MIB(64);
    vm.apic_pages = pages;
    for (u32 i = 0; i < CPUS; i++) {
        vtimer_set_init(&vcpus[i].timers, clock_ns, NULL);
        vcpus[i].vm = &vm;
        vcpus[i].index = i;
        vcpus[i].posted = &posted[i];
        vm.vcpus[i] = &vcpus[i];
    }
    room = calloc(1, board_pc.device_bytes(CPUS));
    assert_int_equal(board_pc.attach(&vm, room), STATUS_OK);
    for (u32 i = 0; i < CPUS; i++) {
        apic_write(i, APIC_SVR, APIC_SVR_ENABLED | 0xff);
        apic_write(i, APIC_LDR, 1u << (24 + i));
    }
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_with(false);
}

static int start_virtual(void **state)
{
    (void)state;
    return start_with(true);
}

static int stop(void **state)
{
    (void)state;
    free(room);
    return 0;
}

/* ---- from the machine ---- */

/* The VM's clock begins with the wall time of its start, not of the machine's. */
static void test_clock_has_the_time_of_now(void **state)
{
    static const u8 wanted[][2] = {
        {0x32, 0x19},
        {0x09, 0x99},
        {0x08, 0x12},
        {0x07, 0x31},
        {0x04, 0x23},
        {0x02, 0x59},
        {0x00, 0x59}
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(wanted); i++) {
        bus_write_port(&vm.bus, 0x70, 1, wanted[i][0]);
        assert_int_equal(bus_read_port(&vm.bus, 0x71, 1), wanted[i][1]);
    }
}

/* ---- between vCPUs ---- */

static void test_physical_destination(void **state)
{
    (void)state;
    send(0, 2, 0x40);
    assert_pending(NONE, NONE, 0x40, NONE);
    assert_int_equal(told[2].events, 1);
    send(3, 3, 0x41); /* itself */
    assert_pending(NONE, NONE, 0x40, 0x41);
    send(0, CPUS, 0x42); /* nobody */
    send(0, 254, 0x42);
    assert_pending(NONE, NONE, 0x40, 0x41);
    send(1, 0xff, 0x50); /* SDM 3A 10.6.2.1 "Physical Destination Mode": FFH is all of them */
    assert_pending(0x50, 0x50, 0x50, 0x50);
}

/* SDM 3A 10.6.2.2 "Logical Destination Mode": the flat model, a bit for each. */
static void test_logical_destination(void **state)
{
    (void)state;
    send(0, 0x06, LOGICAL | 0x40);
    assert_pending(NONE, 0x40, 0x40, NONE);
    send(3, 0xf0, LOGICAL | 0x41);
    assert_pending(NONE, 0x40, 0x40, NONE);
    apic_write(1, APIC_LDR, 0x40u << 24);
    send(0, 0x42, LOGICAL | 0x42); /* no index: whoever has the bit */
    assert_pending(NONE, 0x42, 0x40, NONE);
}

/* SDM 3A 10.6.2.4 "Lowest Priority Delivery Mode" */
static void test_lowest_priority(void **state)
{
    const u32 command = LOGICAL | APIC_LOWEST_PRIORITY << 8;

    (void)state;
    for (u32 i = 0; i < CPUS; i++)
        apic_write(i, APIC_TPR, 0x50 - 0x10 * i);
    send(0, 0x07, command | 0x60); /* vCPU 3 has the least priority of all, but is not asked */
    assert_pending(NONE, NONE, 0x60, NONE);
    apic_write(1, APIC_TPR, 0);
    send(0, 0x07, command | 0x61);
    assert_pending(NONE, 0x61, 0x60, NONE);
    redirect(COM1_IRQ, LOGICAL | APIC_LOWEST_PRIORITY << 8 | 0x70, 0x09);
    raise_com1(true);
    assert_pending(NONE, 0x61, 0x60, 0x70);
}

/* SDM 3A 10.6.1 "Interrupt Command Register (ICR)", "Destination Shorthand" */
static void test_shorthands(void **state)
{
    (void)state;
    send(1, 0, TO_OTHERS | APIC_NMI << 8);
    assert_int_equal(told[0].nmis + told[2].nmis + told[3].nmis, 3);
    assert_int_equal(told[1].nmis, 0);
    send(1, 0, TO_ALL | 0x44);
    assert_pending(0x44, 0x44, 0x44, 0x44);
    send(2, 0, TO_OTHERS | 0x45);
    assert_pending(0x45, 0x45, 0x44, 0x45);
}

/* With IA32_APIC_BASE.EN clear a local APIC is not there, neither by its id nor by a shorthand. */
static void test_signals_to_an_absent_apic(void **state)
{
    (void)state;
    send(0, 2, APIC_NMI << 8);
    assert_int_equal(told[2].nmis, 1);
    assert_true(vcpus[2].apic.ops->write_base(vcpus[2].apic.device, APIC_ADDRESS));
    send(0, 2, APIC_NMI << 8);
    send(0, 0, TO_OTHERS | APIC_NMI << 8);
    send(0, 2, APIC_INIT << 8);
    send(0, 2, APIC_SIPI << 8 | 0x9a);
    assert_int_equal(told[2].nmis, 1);
    assert_int_equal(told[2].inits + told[2].sipis, 0);
}

/* SDM 3A 10.4.7.3 "Local APIC State After an INIT Reset": its vCPU resets it, once that has left its guest. */
static void test_init_and_sipi(void **state)
{
    (void)state;
    apic_write(2, APIC_TPR, 0x30);
    send(0, 2, APIC_INIT << 8);
    assert_int_equal(told[2].inits, 1);
    assert_int_equal(apic_read(2, APIC_TPR), 0x30);
    vcpus[2].apic.ops->reset(vcpus[2].apic.device);
    assert_int_equal(apic_read(2, APIC_TPR), 0);
    assert_int_equal(apic_read(2, APIC_SVR), 0xff);
    send(0, 2, APIC_SIPI << 8 | 0x9a);
    assert_int_equal(told[2].sipis, 1);
    assert_int_equal(told[2].sipi_vector, 0x9a);
    assert_int_equal(told[1].inits + told[3].inits + told[1].sipis + told[3].sipis, 0);
    assert_pending(NONE, NONE, NONE, NONE);
}

/* The CPU takes requests out of the page by itself: they are posted, and there is nothing to inject. */
static void test_posted(void **state)
{
    (void)state;
    send(0, 2, 0x40);
    assert_int_equal(told[2].posts, 1);
    assert_int_equal(told[0].posts + told[1].posts + told[3].posts, 0);
    assert_true(posted[2].vectors[1] == 1);
    assert_pending(NONE, NONE, NONE, NONE);
    redirect(COM1_IRQ, VECTOR, 3);
    raise_com1(true);
    assert_int_equal(told[3].posts, 1);
}

/* ---- from devices ---- */

static void test_edge_through_the_io_apic(void **state)
{
    (void)state;
    redirect(COM1_IRQ, VECTOR, 1);
    raise_com1(true);
    assert_pending(NONE, VECTOR, NONE, NONE);
    assert_int_equal(told[1].events, 1);
    assert_int_equal(vcpus[1].apic.ops->acknowledge(vcpus[1].apic.device), VECTOR);
    vcpus[1].apic.ops->end_interrupt(vcpus[1].apic.device);
    assert_pending(NONE, NONE, NONE, NONE); /* the line is still high */
    raise_com1(false);
    raise_com1(true);
    assert_pending(NONE, VECTOR, NONE, NONE);
    redirect(COM1_IRQ, APIC_NMI << 8, 2);
    raise_com1(false);
    raise_com1(true);
    assert_int_equal(told[2].nmis, 1);
}

/* Remote IRR: the EOI of whoever took it asks the I/O APIC, which sends again while the line is high. */
static void test_level_through_the_io_apic(void **state)
{
    struct cpu_apic *apic = &vcpus[3].apic;

    (void)state;
    redirect(COM1_IRQ, 0x8000 | VECTOR, 3);
    raise_com1(true);
    assert_pending(NONE, NONE, NONE, VECTOR);
    assert_int_equal(apic->ops->acknowledge(apic->device), VECTOR);
    assert_pending(NONE, NONE, NONE, NONE);
    apic->ops->end_interrupt(apic->device);
    assert_pending(NONE, NONE, NONE, VECTOR);
    assert_int_equal(apic->ops->acknowledge(apic->device), VECTOR);
    raise_com1(false);
    apic->ops->end_interrupt(apic->device);
    assert_pending(NONE, NONE, NONE, NONE);
}

/* A level-triggered interrupt that no APIC takes comes when one does. */
static void test_nobody_accepts(void **state)
{
    (void)state;
    apic_write(1, APIC_SVR, 0xff);
    redirect(COM1_IRQ, 0x8000 | VECTOR, 1);
    raise_com1(true);
    assert_pending(NONE, NONE, NONE, NONE);
    redirect(COM1_IRQ, 0x8000 | VECTOR, 2);
    assert_pending(NONE, NONE, VECTOR, NONE);
}

static void start_pic(void)
{
    out(0x20, 0x11);
    out(0x21, 0x20);
    out(0x21, 0x04);
    out(0x21, 0x01);
    out(0x21, (u8) ~(1u << COM1_IRQ));
}

/* SDM 3A 10.1 "Local and I/O APIC Overview": the 8259A is at LINT0, and of the boot processor alone. */
static void test_pic_in_virtual_wire_mode(void **state)
{
    (void)state;
    start_pic();
    raise_com1(true);
    assert_int_equal(told[0].events, 1);
    assert_int_equal(told[1].events + told[2].events + told[3].events, 0);
    assert_true(*vcpus[0].apic.intr && *vcpus[0].apic.extint);
    for (u32 i = 1; i < CPUS; i++)
        assert_false(*vcpus[i].apic.intr);
    assert_int_equal(vm.intc.acknowledge(vm.intc.device), 0x20 + COM1_IRQ);
}

static void test_pic_behind_a_lint0_of_its_own(void **state)
{
    (void)state;
    start_pic();
    apic_write(0, APIC_LVT_LINT0, APIC_LVT_MASKED);
    raise_com1(true);
    assert_int_equal(told[0].events, 0);
    assert_int_equal(vm.intc.acknowledge(vm.intc.device), 0x20 + COM1_IRQ);
    out(0x20, 0x20);
    raise_com1(false);
    apic_write(0, APIC_LVT_LINT0, 0x45); /* fixed, edge */
    raise_com1(true);
    assert_pending(0x45, NONE, NONE, NONE);
}

/* A device asks, and the VM is stopped behind the access. */
static void test_requests(void **state)
{
    (void)state;
    bus_write_port(&vm.bus, 0x604, 2, 0x2000);
    assert_int_equal(vm.requested, VM_STOP_POWEROFF);
    assert_true(vm.write_effect);
    vm.write_effect = false;
    out(0xcf9, 0x06);
    assert_int_equal(vm.requested, VM_STOP_RESET);
    assert_true(vm.write_effect);
}

static void test_terminal(void **state)
{
    (void)state;
    out(COM1, 'a');
    assert_string_equal(printed, "a");
    vm.take_input(vm.devices);
    assert_int_equal(bus_read_port(&vm.bus, COM1 + 5, 1) & 1, 0);
    typed = "x";
    vm.take_input(vm.devices);
    assert_int_equal(bus_read_port(&vm.bus, COM1 + 5, 1) & 1, 1);
    assert_int_equal(bus_read_port(&vm.bus, COM1, 1), 'x');
}

/* ---- the CPU's side ---- */

static void test_deadline_is_of_the_vcpus_own_tsc(void **state)
{
    const struct cpu_apic *apic = &vcpus[2].apic;
    u64 before = vcpus[1].timers.next_ns;

    (void)state;
    apic_write(2, APIC_LVT_TIMER, APIC_LVT_TSC_DEADLINE | 0xef);
    apic->ops->write_deadline(apic->device, 5000);
    assert_int_equal(vcpus[2].timers.next_ns, 7000);
    assert_int_equal(vcpus[1].timers.next_ns, before);
    assert_int_equal(apic->ops->read_deadline(apic->device), 5000);
}

/* SDM 3A 10.12.1.2 "x2APIC Register Address Space" */
static void test_x2apic_ids_and_base(void **state)
{
    u64 value;

    (void)state;
    for (u32 i = 0; i < CPUS; i++) {
        const struct cpu_apic *apic = &vcpus[i].apic;
        u64 boot = i ? 0 : APIC_BASE_BSP;

        assert_int_equal(*apic->base, APIC_ADDRESS | APIC_BASE_EN | boot);
        assert_int_equal(apic_read(i, APIC_ID), i << 24);
        assert_false(apic->ops->read_msr(apic->device, 0x802, &value));
        assert_false(apic->ops->write_base(apic->device, *apic->base | BIT(36))); /* MAXPHYADDR is 36 */
        assert_true(apic->ops->write_base(apic->device, *apic->base | APIC_BASE_EXTD));
        assert_true(apic->ops->read_msr(apic->device, 0x802, &value));
        assert_int_equal(value, i);
    }
}

static void test_cr8_is_the_task_priority(void **state)
{
    const struct cpu_apic *apic = &vcpus[1].apic;

    (void)state;
    apic->ops->write_cr8(apic->device, 6);
    assert_int_equal(apic_read(1, APIC_TPR), 0x60);
    send(0, 1, 0x6f);
    assert_pending(NONE, NONE, NONE, NONE);
    apic_write(1, APIC_TPR, 0x50);
    assert_int_equal(apic->ops->read_cr8(apic->device), 5);
    assert_pending(NONE, 0x6f, NONE, NONE);
}

static void test_load(void **state)
{
    const struct load_request request = {
        .vm_name = "t", .boot = {pages, 77, "words"}
    };
    struct start_state start_state;
    struct refusal why;

    (void)state;
    assert_int_equal(board_pc.load(&vm, &request, gpa(0xe0000), &start_state, &why), STATUS_INVALID);
    assert_string_equal(why.text, "as told");
    assert_int_equal(loaded.acpi_root.raw, 0xe0000);
    assert_int_equal(vm.boot_image.size_bytes, 77);
    assert_ptr_equal(vm.boot_image.bytes, pages);
    assert_int_equal(vm.spec.kind, IMAGE_PVH);
}

static void test_last_records(void **state)
{
    (void)state;
    for (enum vm_dump dump = VM_DUMP_NONE; dump <= VM_DUMP_VMCS; dump++) {
        printed_whole = printed_folded = 0;
        vm.spec.dump = dump;
        board_pc.note_end(&vm);
        assert_true(board_pc.explain(&vm));
        assert_true(board_pc.explain(&vm));
        assert_false(board_pc.explain(&vm));
        bool whole = dump == VM_DUMP_REGS || dump == VM_DUMP_VMCS;
        assert_int_equal(printed_whole, whole ? 2 : 0);
        assert_int_equal(printed_folded, whole ? 0 : 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_clock_has_the_time_of_now, start, stop),
        cmocka_unit_test_setup_teardown(test_physical_destination, start, stop),
        cmocka_unit_test_setup_teardown(test_logical_destination, start, stop),
        cmocka_unit_test_setup_teardown(test_lowest_priority, start, stop),
        cmocka_unit_test_setup_teardown(test_shorthands, start, stop),
        cmocka_unit_test_setup_teardown(test_signals_to_an_absent_apic, start, stop),
        cmocka_unit_test_setup_teardown(test_init_and_sipi, start, stop),
        cmocka_unit_test_setup_teardown(test_posted, start_virtual, stop),
        cmocka_unit_test_setup_teardown(test_edge_through_the_io_apic, start, stop),
        cmocka_unit_test_setup_teardown(test_level_through_the_io_apic, start, stop),
        cmocka_unit_test_setup_teardown(test_nobody_accepts, start, stop),
        cmocka_unit_test_setup_teardown(test_pic_in_virtual_wire_mode, start, stop),
        cmocka_unit_test_setup_teardown(test_pic_behind_a_lint0_of_its_own, start, stop),
        cmocka_unit_test_setup_teardown(test_requests, start, stop),
        cmocka_unit_test_setup_teardown(test_terminal, start, stop),
        cmocka_unit_test_setup_teardown(test_deadline_is_of_the_vcpus_own_tsc, start, stop),
        cmocka_unit_test_setup_teardown(test_x2apic_ids_and_base, start, stop),
        cmocka_unit_test_setup_teardown(test_cr8_is_the_task_priority, start, stop),
        cmocka_unit_test_setup_teardown(test_load, start, stop),
        cmocka_unit_test_setup_teardown(test_last_records, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
