/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DMA that firmware started goes on until the device is told otherwise, into memory that is a guest's by then. A
 * function that may not master the bus does neither DMA nor message-signalled interrupts: PCI Local Bus
 * Specification 3.0, 6.2.2 "Device Control". UEFI Specification 2.10, 7.4.6 "EFI_BOOT_SERVICES.ExitBootServices()",
 * leaves that to us. Remapping hardware: Intel Virtualization Technology for Directed I/O 3.3, 10.4.5 "Global Status
 * Register".
 */
#include "kernel/start/firmware.h"
#include "arch/x86/paging.h"
#include "drivers/host/framebuffer.h"
#include "drivers/host/pci.h"
#include "drivers/host/serial.h"
#include "drivers/host/vga_text.h"
#include "kernel/console.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"

#define IOMMU_BYTES 4096u
#define IOMMU_GSTS  0x1cu
#define GSTS_TES    BIT(31) /* DMA remapping is on */
#define GSTS_IRES   BIT(25) /* interrupt remapping is on */
#define GSTS_CFIS   BIT(23) /* interrupts in the compatibility format pass */

#define CLASS_SERIAL 0x0700u /* whatever its interface: 8250 to 16950, D.8 "Base Class 07h" */
#define SERIAL_BYTES 32u     /* of registers in memory, 4 bytes each at most */

static bool report_iommu(const struct acpi_iommu *unit)
{
    volatile void *registers;

    if (!unit->address || paging_map_device(hpa(unit->address), IOMMU_BYTES, &registers) != STATUS_OK) {
        log_warn("iommu at=0x%lx segment=%u: its registers cannot be reached", unit->address, unit->segment);
        return true;
    }
    u32 status = *(volatile u32 *)((volatile u8 *)registers + IOMMU_GSTS);
    bool blocks = status != UINT32_MAX && (status & GSTS_IRES) && !(status & GSTS_CFIS);
    log_info("iommu at=0x%lx segment=%u dma-remapping=%s interrupt-remapping=%s", unit->address, unit->segment,
             status & GSTS_TES ? "on" : "off", status & GSTS_IRES ? "on" : "off");
    if (blocks)
        log_warn("iommu at=0x%lx: firmware left interrupt remapping on, which blocks the I/O APICs' interrupts",
                 unit->address);
    return !blocks;
}

bool firmware_report_iommus(const struct acpi_info *acpi)
{
    bool pass = true;

    for (u32 i = 0; i < acpi->iommu_count; i++)
        pass = report_iommu(&acpi->iommus[i]) && pass;
    if (acpi->iommus_left_out)
        log_warn("iommu: %u more than %u are not looked at", acpi->iommus_left_out, ACPI_MAX_IOMMUS);
    return pass;
}

struct masters {
    bool keep;
    u32 functions, found, stubborn;
};

static void stop_master(void *context, u16 function, u32 class_register)
{
    struct masters *masters = context;
    u32 command = pci_read(function, PCI_COMMAND) & 0xffff;

    masters->functions++;
    if (class_register >> 24 == PCI_CLASS_BRIDGE || !(command & PCI_COMMAND_MASTER))
        return;
    masters->found++;
    log_debug("pci %02x:%02x.%u class=0x%06x masters the bus", PCI_BUS(function), PCI_DEVICE(function),
              PCI_FUNCTION(function), class_register >> 8);
    if (masters->keep)
        return;
    pci_write(function, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
    /* What it has written before is pushed ahead of this answer: 3.2.5 "Transaction Ordering and Posting". */
    if (pci_read(function, PCI_COMMAND) & PCI_COMMAND_MASTER) {
        masters->stubborn++;
        log_warn("pci %02x:%02x.%u stays a bus master: it may write to any memory", PCI_BUS(function),
                 PCI_DEVICE(function), PCI_FUNCTION(function));
    }
}

void firmware_stop_bus_masters(const struct acpi_info *acpi, bool keep)
{
    struct masters masters = {.keep = keep};

    if (!pci_walk(acpi->other_pci_roots, stop_master, &masters)) {
        log_info("pci none");
        return;
    }
    log_info("pci functions=%u bus-masters=%u stopped=%u", masters.functions, masters.found,
             keep ? 0 : masters.found - masters.stubborn);
    if (keep && masters.found)
        log_warn("dma=keep: %u bus masters may write to any memory, that of guests and Rootlet's own", masters.found);
    if (acpi->last_pci_segment)
        log_warn("pci: segments 1 to %u are out of the configuration ports' reach, their bus masters stay as they are",
                 acpi->last_pci_segment);
}

/* ---- the console ---- */

/* The port at `address` as a 16550, mapped if it stands in memory; 0 if it cannot be. */
static enum serial_port port_at(u64 address, bool is_port, bool wide)
{
    volatile void *registers;

    if (is_port)
        return (enum serial_port)address;
    if (paging_map_device(hpa(address), SERIAL_BYTES, &registers) != STATUS_OK)
        return SERIAL_NONE;
    serial_set_memory(registers, wide);
    return SERIAL_MEMORY;
}

static bool use_spcr(const struct acpi_serial *spcr)
{
    if (!spcr->usable) {
        if (spcr->is_named)
            log_warn("spcr: the serial port at 0x%lx is no 16550", spcr->address);
        return false;
    }
    enum serial_port port = port_at(spcr->address, spcr->is_port, spcr->wide);
    if (!console_move(port, true))
        return false;
    log_info("console at=0x%lx kind=%s named-by=spcr irq=%u", spcr->address, spcr->is_port ? "port" : "memory",
             spcr->isa_irq);
    return true;
}

static void find_serial(void *context, u16 function, u32 class_register)
{
    bool *found = context;
    u32 bar = pci_read(function, PCI_BAR0);
    bool is_port = bar & 1;
    u64 address = bar & (is_port ? ~3u : ~15u);

    if (*found || class_register >> 16 != CLASS_SERIAL || !address)
        return;
    if (!is_port && (bar & 6) == 4) /* 6.2.5.1 "Address Maps": a 64-bit base address */
        address |= (u64)pci_read(function, PCI_BAR0 + 4) << 32;
    u32 command = pci_read(function, PCI_COMMAND) & 0xffff;
    pci_write(function, PCI_COMMAND, command | (is_port ? PCI_COMMAND_PORTS : PCI_COMMAND_MEMORY));
    *found = console_move(port_at(address, is_port, false), false);
    if (*found)
        log_info("console at=0x%lx kind=%s named-by=pci function=%02x:%02x.%u", address, is_port ? "port" : "memory",
                 PCI_BUS(function), PCI_DEVICE(function), PCI_FUNCTION(function));
}

static bool use_pci(const struct acpi_info *acpi)
{
    bool found = false;

    return pci_walk(acpi->other_pci_roots, find_serial, &found) && found;
}

u8 firmware_choose_console(const struct acpi_info *acpi, enum console_port wanted)
{
    bool com1 = console_is_there();
    bool look = !com1 && wanted == CONSOLE_ANY;
    u8 irq = com1 ? SERIAL_COM1_ISA_IRQ : 0;

    if ((look || wanted == CONSOLE_SPCR) && use_spcr(&acpi->spcr))
        irq = acpi->spcr.isa_irq;
    else if ((look || wanted == CONSOLE_PCI) && use_pci(acpi))
        irq = 0;
    else if (wanted == CONSOLE_SPCR || wanted == CONSOLE_PCI)
        log_warn("console=%s: there is no such serial port, or it does not answer; COM1 stays the console",
                 wanted == CONSOLE_SPCR ? "spcr" : "pci");
    console_settle();
    return irq;
}

/* ---- the screen ---- */

static bool is_text(const struct boot_info *boot)
{
    const struct boot_screen *screen = &boot->screen;

    /* A loader that says nothing has left the BIOS's text mode; on UEFI there may be a VGA that shows nothing. */
    if (screen->kind == BOOT_SCREEN_UNKNOWN)
        return !boot->regions_from_efi;
    return screen->kind == BOOT_SCREEN_TEXT && screen->width == SCREEN_COLUMNS && screen->height == SCREEN_ROWS;
}

static void use_text(void)
{
    if (!vga_text_init())
        return;
    log_info("screen kind=text columns=%u rows=%u", SCREEN_COLUMNS, SCREEN_ROWS);
    console_add_screen(vga_text_draw);
}

static void use_pixels(const struct boot_screen *screen)
{
    struct framebuffer f = {.address = hpa(screen->address),
                            .row_bytes = screen->row_bytes,
                            .width = screen->width,
                            .height = screen->height,
                            .pixel_bits = screen->pixel_bits};

    memcpy(f.shift, screen->shift, sizeof f.shift);
    memcpy(f.bits, screen->bits, sizeof f.bits);
    bool works = screen->kind == BOOT_SCREEN_RGB && framebuffer_init(&f);
    log_info("screen kind=framebuffer at=0x%lx width=%u height=%u bits=%u used=%s", screen->address, screen->width,
             screen->height, screen->pixel_bits, works ? "yes" : "no");
    if (works)
        console_add_screen(framebuffer_draw);
}

void firmware_choose_screen(const struct boot_info *boot)
{
    if (is_text(boot))
        use_text();
    else if (boot->screen.kind == BOOT_SCREEN_RGB || boot->screen.kind == BOOT_SCREEN_PALETTE)
        use_pixels(&boot->screen);
}
