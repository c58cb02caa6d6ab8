/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The port with its rings. The lock is taken under a VM's, and none under it. A port that stands still holds up its VM
 * alone: what finds no room in the ring is dropped.
 */
#include "kernel/monitor/com2.h"
#include "arch/x86/irq.h"
#include "arch/x86/spinlock.h"
#include "kernel/lib/string.h"
#include "kernel/serial_line.h"

#define OUT_BYTES       65536u
#define IN_BYTES        4096u
#define INTERRUPT_LOOPS 64u

static struct spinlock lock;
static u8 out[OUT_BYTES], in[IN_BYTES];
static struct serial_line line = {SERIAL_COM2, OUT_BYTES, IN_BYTES, out, in, 0, 0, 0, 0};
static char owner_name[VM_NAME_BYTES]; /* "": the port is not open */
static struct vm *owner;

static void handle_interrupt(void)
{
    spin_lock(&lock);
    serial_line_interrupt(&line, INTERRUPT_LOOPS, NULL);
    struct vm *vm = line.in_head != line.in_tail ? owner : NULL;
    spin_unlock(&lock);
    if (vm)
        vm_note_input(vm);
}

enum status com2_open(const char *vm_name, struct refusal *why)
{
    if (owner_name[0])
        return string_equal(owner_name, vm_name)
                   ? STATUS_OK
                   : refuse(why, STATUS_WRONG_STATE, "console=com2: vm=%s has the port; leave the key out", owner_name);
    if (!serial_init(SERIAL_COM2))
        return refuse(why, STATUS_UNSUPPORTED, "console=com2: nothing answers at COM2 (port 0x2f8); leave the key out");
    irq_set_handler(IRQ_VECTOR_COM2, handle_interrupt);
    if (!irq_route_isa(SERIAL_COM2_ISA_IRQ, IRQ_VECTOR_COM2))
        return refuse(why, STATUS_UNSUPPORTED,
                      "console=com2: no I/O APIC pin for the interrupt of COM2; leave the key out");
    serial_set_interrupts(SERIAL_COM2, true, true);
    (void)string_copy(owner_name, sizeof owner_name, vm_name);
    return STATUS_OK;
}

void com2_give(struct vm *vm)
{
    spin_lock(&lock);
    owner = vm;
    spin_unlock(&lock);
}

struct vm *com2_owner(void)
{
    return owner;
}

void com2_put(u8 byte)
{
    spin_lock(&lock);
    if (line.out_head - line.out_tail < OUT_BYTES)
        out[line.out_head++ % OUT_BYTES] = byte;
    serial_line_feed(&line);
    spin_unlock(&lock);
}

u32 com2_waiting(void)
{
    return __atomic_load_n(&line.out_head, __ATOMIC_RELAXED) - __atomic_load_n(&line.out_tail, __ATOMIC_RELAXED);
}

int com2_read(const struct vm *vm)
{
    spin_lock(&lock);
    int byte = vm == owner ? serial_line_take(&line) : -1;
    spin_unlock(&lock);
    return byte;
}
