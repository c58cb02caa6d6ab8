/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every C guest here shares: guest_main() is called with the UART ready and interrupts off; its result becomes the
 * VM's exit status. Any failure prints one line `FAIL: ...` and ends with status 1.
 */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include "guests/lib/console.h"
#include "guests/lib/cpu.h"
#include "guests/lib/hypercall.h"

/* Written by each guest. 0: success. */
int guest_main(void);

/* Ends the VM: by hypercall, or without a hypervisor (or with stealth=on) by power-off (0) or reset (else). */
void guest_exit(u32 status) __attribute__((noreturn));
/* Prints `FAIL: text` and ends with status 1. */
void guest_fail(const char *text) __attribute__((noreturn));
/* Fails unless the condition holds. */
static inline void expect(bool condition, const char *text)
{
    if (!condition)
        guest_fail(text);
}

/* The loader's command line: all after ` -- ` of the VM line; "" if there is none. */
const char *guest_command_line(void);
/* The value of `key=` on the command line, which ends at a blank; NULL if the key is not there. `key` without the `=`.
 */
const char *guest_option(const char *key);
/* The same as a decimal number. */
u32 guest_option_number(const char *key, u32 otherwise);
bool text_begins_with(const char *text, const char *prefix);
#define GUEST_MAX_MODULES 16u

struct guest_module {
    const u8 *start;
    u32 bytes;
    const char *text; /* the module's own words */
};

/* The file of the VM's role=module line number `index`, from 0; NULL: there are fewer. */
const struct guest_module *guest_module(u32 index);
/* Bytes of RAM from address 1 MiB on, as the loader reports. */
u64 guest_upper_memory_bytes(void);
/* With the option late=1: returns when others have had this CPU, and most of the slice that follows is used up. */
void guest_wait_for_late_slice(void);
/* A fast pseudo-random sequence (xorshift), the same in every run. */
u32 guest_random(void);

#endif
