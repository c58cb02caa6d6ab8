/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt is edge-triggered: what waits in the controller is taken, or no further edge would come. Boot CPU.
 */
#include "kernel/keys.h"
#include "arch/x86/irq.h"
#include "drivers/host/keyboard.h"
#include "kernel/console.h"

#define INTERRUPT_LOOPS 32u /* a controller that never runs out of bytes must not hold the CPU */

static struct keyboard keyboard;

static void handle_interrupt(void)
{
    char bytes[KEYBOARD_KEY_BYTES];

    for (u32 loops = 0; loops < INTERRUPT_LOOPS; loops++) {
        int code = keyboard_receive();
        if (code < 0)
            return;
        u32 count = keyboard_decode(&keyboard, (u8)code, bytes);
        if (count)
            console_type(bytes, count);
    }
}

bool keys_init(void)
{
    if (!keyboard_init())
        return false;
    irq_set_handler(IRQ_VECTOR_KEYBOARD, handle_interrupt);
    if (!irq_route_isa(KEYBOARD_ISA_IRQ, IRQ_VECTOR_KEYBOARD))
        return false;
    handle_interrupt(); /* a key that was pressed meanwhile has given its edge */
    return true;
}
