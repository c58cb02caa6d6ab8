/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's ACPI cannot find out otherwise: soft-off, and the devices at a PC's fixed addresses (their models are
 * in drivers/virt). Not the keyboard controller: Linux warns of one without a mouse, and finds it by itself. CPUs,
 * interrupt controllers and fixed hardware stand in the tables of kernel/vm/acpi.c.
 */
DefinitionBlock ("", "DSDT", 2, "ROOTLT", "ROOTLET ", 1)
{
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }
        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 1, 2)
                IRQNoFlags () { 8 }
            })
        }
        Device (TIMR)
        {
            Name (_HID, EisaId ("PNP0100"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0040, 0x0040, 1, 4)
            })
        }
        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadOnly, 0xFED00000, 0x0400)
            })
        }
    }
}
