/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual PC: the devices of one VM, wired to its buses, timers and interrupt lines. Pure state machines: all that
 * they reach outside is in struct pc_host.
 */
#ifndef ROOTLET_DRIVERS_VIRT_PC_H
#define ROOTLET_DRIVERS_VIRT_PC_H

#include "drivers/virt/cmos.h"
#include "drivers/virt/crtc.h"
#include "drivers/virt/i8042.h"
#include "drivers/virt/pci.h"
#include "drivers/virt/pic.h"
#include "drivers/virt/pit.h"
#include "drivers/virt/pm.h"
#include "drivers/virt/power.h"
#include "drivers/virt/uart.h"
#include "drivers/virt/vhpet.h"
#include "drivers/virt/vioapic.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq.h"
#include "kernel/vm/vtimer.h"

#define PC_PAGE_REGISTERS 16u

struct pc_host {
    void *context;
    void (*console_put)(void *context, u8 character);        /* a byte that the guest sent on COM1 */
    void (*request)(void *context, enum pc_request request); /* power off or reset this VM after this exit */
    void (*interrupt_raised)(void *context);                 /* the PIC's INTR output rose */
    /* The I/O APIC sends a message: to the local APICs that it matches; true if one accepted it. NULL: a PC without I/O
     * APIC and HPET. */
    bool (*interrupt_message)(void *context, const struct vioapic_message *message);
    int (*console_get)(void *context); /* the next byte for COM1, or -1; NULL: nobody types */
};

struct pc {
    const struct pc_host *host;
    struct pic pic;
    struct pit pit;
    struct uart uart;
    struct cmos cmos;
    struct i8042 i8042;
    struct power power;
    struct crtc crtc;
    struct pci pci;
    struct pm pm;
    struct vioapic ioapic;
    struct vhpet hpet;
    bool legacy_replaced; /* the HPET drives IRQ 0 and IRQ 8 */
    u16 replaced_lines;   /* levels of the PIT's and the CMOS clock's outputs, which it then cuts off */
    u8 page_registers[PC_PAGE_REGISTERS];
};

/*
 * Resets every device and registers its ranges and timers. wall_seconds: seconds since 1970-01-01 UTC at guest time 0,
 * for the CMOS clock. mem_bytes: the PC's memory size, for the CMOS memory registers. `host` must outlive the pc.
 */
enum status pc_init(struct pc *pc, const struct pc_host *host, struct bus *bus, struct vtimer_set *timers,
                    u64 wall_seconds, u64 mem_bytes) MUST_CHECK;
/* Takes over what the guest has made of another PC: all but its host, its wiring and its timers. */
COLD void pc_copy(struct pc *pc, const struct pc *from);
/* The PIC as the boot vCPU's interrupt controller. */
struct intc pc_interrupt_controller(struct pc *pc);
/* A local APIC's EOI broadcast. */
void pc_end_interrupt(struct pc *pc, u8 vector);
/* A word on device `n` and its state; false: there are no more. Reads only. */
COLD bool pc_describe(const struct pc *pc, u32 n, char *text, size_t size);
/* Bytes can be had from console_get: COM1 takes those that it has room for, and the others when the guest has read. */
void pc_take_input(struct pc *pc);

#endif
