/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's two 8259A interrupt controllers: remapped away from the exception vectors, then masked for good.
 * Intel 8259A "Programmable Interrupt Controller", "Initialization Command Words".
 */
#ifndef ROOTLET_ARCH_PIC_HOST_H
#define ROOTLET_ARCH_PIC_HOST_H

#define PIC_HOST_VECTOR_BASE 0xe0u /* a spurious IRQ7 or IRQ15 would come as 0xe7 or 0xef */

void pic_host_mask_all(void);

#endif
