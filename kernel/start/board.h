/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The board of a VM: its PC's devices and the local APICs of its vCPUs, wired together and to the VM. The second half
 * of the composition root (main.c is the first): neither kernel nor vmx knows what devices there are.
 */
#ifndef ROOTLET_KERNEL_START_BOARD_H
#define ROOTLET_KERNEL_START_BOARD_H

#include "kernel/vm/vm.h"

extern const struct vm_board board_pc;

#endif
