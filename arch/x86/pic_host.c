/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8259A pair is never used: it is moved off the exception vectors, so that a spurious request cannot look like an
 * exception, and every line is masked. Boot CPU, interrupts off.
 */
#include "arch/x86/pic_host.h"
#include "arch/x86/cpu.h"

#define PIC_MASTER_COMMAND 0x20
#define PIC_MASTER_DATA    0x21
#define PIC_SLAVE_COMMAND  0xa0
#define PIC_SLAVE_DATA     0xa1
#define PIC_ICW1_INIT_ICW4 0x11
#define PIC_ICW4_8086      0x01
#define PIC_CASCADE_LINE   2

void pic_host_mask_all(void)
{
    port_out8(PIC_MASTER_COMMAND, PIC_ICW1_INIT_ICW4);
    port_out8(PIC_SLAVE_COMMAND, PIC_ICW1_INIT_ICW4);
    port_out8(PIC_MASTER_DATA, PIC_HOST_VECTOR_BASE);
    port_out8(PIC_SLAVE_DATA, PIC_HOST_VECTOR_BASE + 8);
    port_out8(PIC_MASTER_DATA, 1 << PIC_CASCADE_LINE);
    port_out8(PIC_SLAVE_DATA, PIC_CASCADE_LINE);
    port_out8(PIC_MASTER_DATA, PIC_ICW4_8086);
    port_out8(PIC_SLAVE_DATA, PIC_ICW4_8086);
    port_out8(PIC_MASTER_DATA, 0xff);
    port_out8(PIC_SLAVE_DATA, 0xff);
}
