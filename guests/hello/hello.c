/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest useful guest: says hello on the UART, by hypercall and on the text page, and ends with status 0.
 * Start here when you write your own. build/guests/hello2.elf is the same with a multiboot2 header.
 */
#include "guests/lib/guest.h"

int guest_main(void)
{
    print("hello from a 32-bit multiboot guest, %llu KiB of RAM above 1 MiB\n", guest_upper_memory_bytes() >> 10);
    print("hello command line: \"%s\"\n", guest_command_line());

    for (u32 i = 0; guest_module(i); i++)
        print("hello module \"%s\": %u bytes\n", guest_module(i)->text, guest_module(i)->bytes);

    /* dump=screen on the VM's line shows this when the VM stops. */
    console_text_page(0, "Hello from the text page at 0xB8000");

    if (!hypercall_present()) {
        print("hello: no hypervisor in sight\n");
        return 0;
    }
    static const char line[] = "hello by hypercall: one exit for a whole line\n";
    u32 written;
    u32 status = hypercall_console_write((uintptr_t)line, sizeof(line) - 1, &written);
    expect(status == ROOTLET_OK && written == sizeof(line) - 1, "console write");
    return 0;
}
