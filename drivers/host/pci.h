/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's PCI functions, through configuration mechanism 1: what is there, and its registers. Segment 0 only, and
 * the first 256 bytes of each function, which is all that the ports reach. Boot CPU, or the last one that runs.
 * PCI Local Bus Specification 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions", 6.1 "Configuration
 * Space Organization".
 */
#ifndef ROOTLET_DRIVERS_HOST_PCI_H
#define ROOTLET_DRIVERS_HOST_PCI_H

#include "kernel/lib/types.h"

#define PCI_COMMAND        0x04u /* status in the upper half: its bits are cleared by writing 1 */
#define PCI_CLASS          0x08u /* class, subclass, interface, revision from the top byte down */
#define PCI_BAR0           0x10u
#define PCI_SUBSYSTEM      0x2cu
#define PCI_COMMAND_PORTS  0x1u
#define PCI_COMMAND_MEMORY 0x2u
#define PCI_COMMAND_MASTER 0x4u
#define PCI_CLASS_BRIDGE   0x06u

#define PCI_BUS(function)      ((unsigned)(function) >> 8)
#define PCI_DEVICE(function)   ((unsigned)(function) >> 3 & 31)
#define PCI_FUNCTION(function) (7u & (function))

/* The aligned 32 bits at `offset`. A function is its bus, device and function number in 8, 5 and 3 bits. */
u32 pci_read(u16 function, u8 offset);
void pci_write(u16 function, u8 offset, u32 value);
/*
 * Calls visit(context, function, its PCI_CLASS register) for each function on bus 0 and behind its bridges, or, with
 * `all_buses`, on each of the 256 buses. False without PCI.
 */
bool pci_walk(bool all_buses, void (*visit)(void *context, u16 function, u32 class_register), void *context);

#endif
