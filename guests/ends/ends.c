/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every way in which a VM can end itself. Option: how=exit|poweroff|poweroff2|shutdown|halt|reset|keyboard|port92, and
 * for exit status=<n>; how=button: it powers itself off when somebody presses the ACPI power button. The default is
 * how=exit status=0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define KEYBOARD_PULSE_RESET 0xfe
#define PM_STATUS            ROOTLET_PORT_PM1A_EVENT
#define PM_ENABLE            (ROOTLET_PORT_PM1A_EVENT + 2)
#define PM_POWER_BUTTON      0x0100
#define IRQ_PIT              0
#define IRQ_SCI              9
#define TICK_CLOCKS          59659u /* 50 ms: a guest that nothing can wake would end by itself */

static volatile bool pressed;

static void sci(struct interrupt_frame *frame)
{
    (void)frame;
    if (!(cpu_in16(PM_STATUS) & PM_POWER_BUTTON))
        return;
    cpu_out16(PM_STATUS, PM_POWER_BUTTON);
    pressed = true;
}

static void tick(struct interrupt_frame *frame)
{
    (void)frame;
}

static void wait_for_button(void)
{
    interrupts_init();
    interrupts_set_irq(IRQ_SCI, sci);
    interrupts_set_irq(IRQ_PIT, tick);
    pit_set_periodic(TICK_CLOCKS);
    cpu_out16(PM_ENABLE, PM_POWER_BUTTON);
    while (!pressed)
        cpu_wait_for_interrupt();
    print("ends button=pressed\n");
    cpu_out16(ROOTLET_PORT_PM1A_CONTROL, ROOTLET_PM1A_SLP_EN);
}

static bool how_is(const char *name)
{
    const char *how = guest_option("how");
    return how && text_begins_with(how, name) && (how[text_length(name)] == ' ' || how[text_length(name)] == '\0');
}

int guest_main(void)
{
    print("ends how=%s\n", guest_option("how") ? guest_option("how") : "exit");
    if (how_is("poweroff"))
        cpu_out16(ROOTLET_PORT_PM1A_CONTROL, ROOTLET_PM1A_SLP_EN);
    else if (how_is("poweroff2"))
        cpu_out16(ROOTLET_PORT_PM1A_CONTROL_2, ROOTLET_PM1A_SLP_EN);
    else if (how_is("shutdown"))
        for (const char *text = "Shutdown"; *text; text++)
            cpu_out8(ROOTLET_PORT_SHUTDOWN, (u8)*text);
    else if (how_is("button"))
        wait_for_button();
    else if (how_is("halt"))
        cpu_halt_for_good();
    else if (how_is("reset"))
        cpu_out8(ROOTLET_PORT_RESET, 0x06);
    else if (how_is("keyboard"))
        cpu_out8(ROOTLET_PORT_KEYBOARD, KEYBOARD_PULSE_RESET);
    else if (how_is("port92"))
        cpu_out8(ROOTLET_PORT_CONTROL_A, 0x01);
    else
        return (int)guest_option_number("status", 0);
    guest_fail("still running after the end");
}
