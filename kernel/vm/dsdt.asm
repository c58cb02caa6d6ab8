; SPDX-License-Identifier: BSD-2-Clause
; The guests' DSDT, compiled from kernel/vm/dsdt.asl by iasl.

section .rodata
global guest_acpi_dsdt:data, guest_acpi_dsdt_end:data

guest_acpi_dsdt:
    incbin "kernel/vm/dsdt.aml"
guest_acpi_dsdt_end:
