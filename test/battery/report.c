/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verdicts of a battery that runs in a VM, as lines of the VM's console for tools/battery: "V number verdict..."
 * has those of the cases `number`, `number` + step and so on. They go out by hypercall, past the ring of the log, which
 * nobody empties meanwhile.
 */
#include "arch/x86/paging.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "test/battery/battery.h"

#define PER_LINE 40u

static struct {
    char text[PER_LINE * 3 + 16];
    u32 used, count;
    u32 next; /* the number whose verdict can follow on this line */
} line;

static void console_write(const char *text, u32 bytes)
{
    while (bytes) {
        u64 address = virt_to_phys(text).raw;
        u32 status = ROOTLET_CALL_CONSOLE_WRITE;
        u32 low = (u32)address, high = (u32)(address >> 32);
        u32 length = bytes;

        __asm__ volatile("vmcall" : "+a"(status), "+b"(low), "+c"(high), "+d"(length) : : "memory");
        CHECK(status == ROOTLET_OK && low <= bytes);
        text += low;
        bytes -= low;
    }
}

void battery_report_flush(void)
{
    if (!line.count)
        return;
    line.text[line.used++] = '\n';
    console_write(line.text, line.used);
    line.used = line.count = 0;
}

void battery_report_line(const char *text)
{
    console_write(text, (u32)string_length(text));
    console_write("\n", 1);
}

void battery_report(u32 number, u32 step, const char *verdict)
{
    if (number != line.next || line.count == PER_LINE)
        battery_report_flush();
    if (!line.count)
        line.used = (u32)format_text(line.text, sizeof line.text, "V %u", number);
    line.used += (u32)format_text(line.text + line.used, sizeof line.text - line.used, " %s", verdict);
    line.count++;
    line.next = number + step;
}
