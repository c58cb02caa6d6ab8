/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One ring, since one VM has the terminal. The lock is taken under a VM's, and none under it.
 */
#include "kernel/monitor/terminal.h"
#include "arch/x86/spinlock.h"
#include "kernel/console.h"

#define INPUT_BYTES 4096u /* a pasted text */
#define LINE_BYTES  128u  /* of a line that the VM has begun, and that is shown again */

static struct spinlock lock;
static struct vm *owner;
static u8 input[INPUT_BYTES];
static u32 head, tail;

struct vm *terminal_owner(void)
{
    return owner;
}

/* A prompt, for instance. */
static void show_begun_line(const struct vm *vm)
{
    char text[LINE_BYTES];
    u64 total = __atomic_load_n(&vm->kept_total, __ATOMIC_ACQUIRE), at;
    size_t count = vm_read_kept(vm, total > LINE_BYTES ? total - LINE_BYTES : 0, text, LINE_BYTES, &at);
    size_t begin = count;

    while (begin && text[begin - 1] != '\n')
        begin--;
    console_write_raw(text + begin, count - begin);
}

void terminal_give(struct vm *vm, bool behind)
{
    struct vm *before = owner;

    if (before != vm) {
        spin_lock(&lock);
        owner = vm;
        head = tail = 0;
        spin_unlock(&lock);
        if (before)
            vm_set_terminal(before, VM_TERMINAL_NOT);
    }
    if (!vm)
        return;
    if (!behind && vm->terminal == VM_TERMINAL_BEHIND)
        show_begun_line(vm);
    vm_set_terminal(vm, behind ? VM_TERMINAL_BEHIND : VM_TERMINAL_HAS);
}

void terminal_type(u8 byte)
{
    spin_lock(&lock);
    struct vm *vm = owner;
    if (vm && head - tail < INPUT_BYTES)
        input[head++ % INPUT_BYTES] = byte;
    spin_unlock(&lock);
    if (vm)
        vm_note_input(vm);
}

int terminal_read(const struct vm *vm)
{
    spin_lock(&lock);
    int byte = vm == owner && head != tail ? input[tail++ % INPUT_BYTES] : -1;
    spin_unlock(&lock);
    return byte;
}
