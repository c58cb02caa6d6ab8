/*
 * Hostile: a triple fault. With an IDT of no entries #UD cannot be delivered, nor the #GP about that, nor the #DF: the
 * CPU shuts down, and the VM stops with reason=triple-fault.
 */
#include "guests/lib/guest.h"

int guest_main(void)
{
    print("triple: an empty IDT, then UD2\n");
    static const struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) empty = {0, 0};
    __asm__ volatile("lidt %0\n\tud2" : : "m"(empty));
    guest_fail("still running after a triple fault");
}
