/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What firmware left behind and the hypervisor must settle before guests get memory: devices that may still write to
 * it, remapping hardware, and where the console is. Boot CPU, once; all but the screen after the ACPI tables have been
 * read.
 */
#ifndef ROOTLET_KERNEL_START_FIRMWARE_H
#define ROOTLET_KERNEL_START_FIRMWARE_H

#include "arch/x86/acpi.h"
#include "boot/boot_info.h"
#include "kernel/vm/spec.h"

/* Says in one line each what IOMMUs there are. False: interrupt remapping is on and takes no interrupt of an I/O APIC.
 */
bool firmware_report_iommus(const struct acpi_info *acpi) MUST_CHECK;
/* Takes every PCI function but bridges off the bus as a master, or, with `keep`, says how many are left on. */
void firmware_stop_bus_masters(const struct acpi_info *acpi, bool keep);
/*
 * Settles which serial port is the console: the one that is wanted, else COM1, the one that the SPCR names, the first
 * PCI one, whichever answers. Returns its ISA interrupt, 0: none.
 */
u8 firmware_choose_console(const struct acpi_info *acpi, enum console_port wanted);
/* Shows the console on the screen that the boot loader has left, if that can be drawn on. After paging_init. */
COLD void firmware_choose_screen(const struct boot_info *boot);

#endif
