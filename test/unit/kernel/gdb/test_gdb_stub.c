/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The GDB stub on a VM of one vCPU that is always paused at once, and a UART model: breakpoints in memory, and what
 * goes over the line at the VM's end.
 *
 * links: kernel/gdb/stub.c kernel/gdb/points.c kernel/serial_line.c kernel/gdb/packet.c kernel/gdb/command.c
 * kernel/gdb/registers.c kernel/vm/memory.c kernel/vm/layer.c kernel/lib/format.c test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/irq.h"
#include "drivers/host/serial.h"
#include "kernel/gdb/points.h"
#include "kernel/gdb/stub.h"
#include "kernel/log.h"
#include "kernel/sched/sched.h"
#include "test/fake/host_memory.h"

#define INT3 0xccu

static struct {
    u32 fifo;  /* bytes in it */
    u32 polls; /* of its state */
    bool stuck;
    char wire[4096];
    u32 sent;
    const char *typed;
} uart;
static struct vm vm;
static struct vcpu vcpu;
static void (*handler)(void);

bool serial_init(enum serial_port port)
{
    return port == SERIAL_COM2;
}

void serial_set_interrupts(enum serial_port port, bool receive, bool transmit)
{
    assert_int_equal(port, SERIAL_COM2);
    (void)receive;
    (void)transmit;
}

/* Polled, it empties at some time. */
bool serial_can_send(enum serial_port port)
{
    assert_int_equal(port, SERIAL_COM2);
    if (!uart.stuck && ++uart.polls % 20 == 0)
        uart.fifo = 0;
    return uart.fifo == 0;
}

bool serial_is_idle(enum serial_port port)
{
    return serial_can_send(port);
}

void serial_send(enum serial_port port, u8 byte)
{
    assert_int_equal(port, SERIAL_COM2);
    assert_true(uart.fifo < SERIAL_FIFO_BYTES && uart.sent < sizeof uart.wire - 1);
    uart.fifo++;
    uart.wire[uart.sent++] = (char)byte;
    uart.wire[uart.sent] = 0;
}

int serial_receive(enum serial_port port)
{
    assert_int_equal(port, SERIAL_COM2);
    return uart.typed && *uart.typed ? (u8)*uart.typed++ : -1;
}

bool serial_acknowledge_interrupt(enum serial_port port)
{
    assert_int_equal(port, SERIAL_COM2);
    return uart.typed && *uart.typed;
}

void irq_set_handler(u8 vector, void (*h)(void))
{
    assert_int_equal(vector, IRQ_VECTOR_COM2);
    handler = h;
}

bool irq_route_isa(u8 irq, u8 vector)
{
    return irq == SERIAL_COM2_ISA_IRQ && vector == IRQ_VECTOR_COM2;
}

void log_event(const char *format, ...)
{
    (void)format;
}

static bool pausing;

void sched_pause(struct vcpu *which)
{
    assert_ptr_equal(which, &vcpu);
    pausing = true;
}

void sched_unpause(struct vcpu *which, enum vcpu_pause then)
{
    assert_ptr_equal(which, &vcpu);
    (void)then;
}

static u32 work_requests;

void sched_request_work(void)
{
    work_requests++;
}

void sched_shorten_slices(bool on)
{
    assert_true(on);
}

void vm_stop(struct vm *which, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)which;
    (void)detail;
    vm.reason = reason;
}

void virt_debug_begin(struct vm *which)
{
    assert_ptr_equal(which, &vm);
}

void virt_debug_end(struct vm *which)
{
    assert_ptr_equal(which, &vm);
}

void virt_debug_save(struct vcpu *which, struct debug_registers *out)
{
    assert_ptr_equal(which, &vcpu);
    memset(out, 0, sizeof *out);
}

/* The state that the VM has gone back to. */
void virt_debug_save_again(struct vcpu *which, struct debug_registers *out)
{
    assert_ptr_equal(which, &vcpu);
    memset(out, 0, sizeof *out);
    out->rip = 0x1234;
}

void virt_debug_prepare(struct vcpu *which, const struct debug_registers *registers, const struct debug_points *points,
                        const struct debug_step *step)
{
    (void)which;
    (void)registers;
    (void)points;
    (void)step;
}

/* The second 64 KiB of linear addresses are the first once more. */
bool virt_debug_translate(const struct vm *which, const struct debug_registers *registers, u64 linear, gpa_t *out)
{
    (void)which;
    (void)registers;
    *out = gpa(linear % 0x10000);
    return linear < 0x20000;
}

/* The FIFO runs empty, what is typed has come, and the interrupt with it; a vCPU that shall pause does so. */
static void interrupt(void)
{
    uart.fifo = 0;
    handler();
    if (pausing) {
        pausing = false;
        vm.watcher->paused(&vcpu);
    }
}

/* Sends a packet, and fetches all that the stub has to say. */
static const char *ask(const char *content)
{
    char packet[200];
    u8 sum = 0;
    u32 seen;

    for (const char *at = content; *at; at++)
        sum = (u8)(sum + (u8)*at);
    snprintf(packet, sizeof packet, "+$%s#%02x", content, sum);
    uart.sent = 0;
    uart.typed = packet;
    do {
        seen = uart.sent;
        interrupt();
        uart.typed = NULL;
    } while (uart.sent != seen);
    return uart.wire;
}

static u8 byte_at(u64 address)
{
    u8 byte;
    assert_int_equal(guest_memory_read(&vm.memory, gpa(address), &byte, 1), STATUS_OK);
    return byte;
}

/* The stub is connected once in the machine's life: each test leaves it as it was, and the last one ends the VM. */
static void connect_stub(void)
{
    static const struct host_options options = {.gdb = "test", .gdb_bits = 32};
    struct refusal why;

    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&vm.memory, MIB(2), &why), STATUS_OK);
    vm.spec.cpus = 1;
    vm.vcpus[0] = &vcpu;
    vcpu.vm = &vm;
    vcpu.started = true;
    gdb_stub_connect(&vm, &options);
    assert_int_equal(gdb_stub_open(&why), STATUS_OK);
    interrupt();
    uart.stuck = true; /* empties at interrupts only */
}

static void test_two_addresses_of_one_byte(void **state)
{
    (void)state;
    assert_int_equal(guest_memory_write(&vm.memory, gpa(0x1000), &(u8){0x90}, 1), STATUS_OK);
    assert_string_equal(ask("Z0,1000,1"), "+$OK#9a");
    assert_string_equal(ask("Z0,11000,1"), "+$OK#9a");
    assert_int_equal(byte_at(0x1000), INT3);
    assert_string_equal(ask("z0,1000,1"), "+$OK#9a");
    assert_int_equal(byte_at(0x1000), INT3); /* the other is still there */
    assert_true(gdb_points_has_planted(&vm, gpa(0x1000)));
    assert_string_equal(ask("m1000,1"), "+$90#69");
    assert_string_equal(ask("M1000,1:91"), "+$OK#9a"); /* goes under it */
    assert_string_equal(ask("z0,11000,1"), "+$OK#9a");
    assert_int_equal(byte_at(0x1000), 0x91);
    assert_false(gdb_points_has_planted(&vm, gpa(0x1000)));
}

/* What the VM's snapshot sees, and what GDB hears of it. */
static void test_snapshots(void **state)
{
    (void)state;
    assert_int_equal(guest_memory_write(&vm.memory, gpa(0x1000), &(u8){0x90}, 1), STATUS_OK);
    assert_string_equal(ask("Z0,1000,1"), "+$OK#9a");
    assert_string_equal(ask("Z0,11000,1"), "+$OK#9a");
    /* Stopped by GDB, which knows the registers. */
    assert_true(vm.watcher->stand(&vm));
    assert_false(vm.watcher->may_move(&vm));
    assert_int_equal(byte_at(0x1000), 0x90);
    (void)ask("m1000,1"); /* waits: it could be a kill */
    assert_int_equal(uart.sent, 0);
    uart.fifo = 0;
    vm.watcher->stood(&vm, false);
    assert_string_equal(uart.wire, "+$90#69");
    assert_int_equal(byte_at(0x1000), INT3);
    /* Running: GDB hears nothing before it is over. */
    assert_string_equal(ask("c"), "+");
    assert_false(vm.watcher->stand(&vm));
    u32 before = work_requests;
    uart.sent = 0;
    interrupt();
    assert_true(work_requests > before);
    assert_true(vm.watcher->stand(&vm));
    assert_true(vm.watcher->may_move(&vm));
    assert_int_equal(uart.sent, 0);
    assert_int_equal(guest_memory_write(&vm.memory, gpa(0x1000), &(u8){0x92}, 1), STATUS_OK); /* goes back */
    vm.watcher->stood(&vm, true);
    do {
        before = uart.sent;
        uart.typed = "+";
        interrupt();
    } while (uart.sent != before);
    assert_non_null(strstr(uart.wire, "$O526f6f746c65743a2074686520564d2068617320676f6e65206261636b"));
    assert_non_null(strstr(uart.wire, "$T05thread:1;08:34120* ;"));
    assert_false(vm.watcher->may_move(&vm));
    assert_int_equal(byte_at(0x1000), INT3);
    assert_string_equal(ask("m1000,1"), "+$92#6b");
    assert_string_equal(ask("z0,1000,1"), "+$OK#9a");
    assert_string_equal(ask("z0,11000,1"), "+$OK#9a");
    assert_int_equal(byte_at(0x1000), 0x92);
}

/* The transmitter stands still: nobody waits for it. What is left goes with the interrupts, or at the machine's end. */
static void test_the_end_waits_for_no_line(void **state)
{
    (void)state;
    assert_string_equal(ask("vCont;c"), "+"); /* no answer until it stops */
    vm.reason = VM_STOP_EXIT;
    uart.sent = 0;
    uart.fifo = 1;
    uart.polls = 0;
    uart.stuck = false; /* a line at work: whoever polls gets rid of the answer */
    vm.watcher->ended(&vm);
    assert_in_range(uart.polls, 0, 1);
    assert_int_equal(uart.sent, 0);
    gdb_stub_flush();
    assert_string_equal(uart.wire, "$W00#b7");
    assert_int_equal(uart.fifo, 0); /* and has left the wire */
}

static int set_up(void **state)
{
    (void)state;
    connect_stub();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_addresses_of_one_byte),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_the_end_waits_for_no_line),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
