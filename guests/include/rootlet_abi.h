/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest ABI: what a program that runs in a Rootlet VM may rely on beyond the ordinary PC. Plain macros, so that C,
 * any assembler's preprocessor and the hypervisor itself can include it. The text that goes with it is
 * docs/guest-abi.md; rootlet_abi.inc says the same for NASM; test/lint/check_abi.py compares the three.
 */
#ifndef ROOTLET_ABI_H
#define ROOTLET_ABI_H

#define ROOTLET_ABI_VERSION 1

/* Detection: CPUID.01H:ECX[31], then these leaves. EBX, ECX, EDX of the first spell "RootletRootl". */
#define ROOTLET_CPUID_SIGNATURE 0x40000000 /* EAX: the highest leaf of this range */
#define ROOTLET_CPUID_FEATURES  0x40000001 /* EAX: 0 (KVM's features: none); EBX: ABI version */
#define ROOTLET_SIGNATURE_EBX   0x746f6f52 /* "Root" */
#define ROOTLET_SIGNATURE_ECX   0x5274656c /* "letR" */
#define ROOTLET_SIGNATURE_EDX   0x6c746f6f /* "ootl" */

/*
 * Hypercalls: VMCALL at CPL 0. EAX: number in, status out. Inputs EBX, ECX, EDX; outputs EBX, ECX, EDX. A 64-bit value
 * stands in two registers, the low half in the first one. Pointers are guest-physical addresses.
 */
#define ROOTLET_CALL_VERSION       0  /* out EBX: ABI version */
#define ROOTLET_CALL_CONSOLE_WRITE 1  /* EBX, ECX: address; EDX: bytes; out EBX: bytes written */
#define ROOTLET_CALL_YIELD         2  /* lets another vCPU run */
#define ROOTLET_CALL_CLOCK         3  /* out EBX, ECX: ns since the VM started; EDX: TSC frequency in kHz */
#define ROOTLET_CALL_SLEEP_UNTIL   4  /* EBX, ECX: time in ns on that clock */
#define ROOTLET_CALL_EXIT          5  /* EBX: status; does not return */
#define ROOTLET_CALL_IDENTITY      6  /* out EBX: VM number; ECX: vCPU index; EDX: vCPUs of this VM */
#define ROOTLET_CALL_START_VCPU    7  /* EBX: vCPU index; ECX: entry point; EDX: its EBX */
#define ROOTLET_CALL_SNAPSHOT      8  /* out EBX: how often this call has returned before */
#define ROOTLET_CALL_RESTORE       9  /* returns only if there is no snapshot: SNAPSHOT returns again */
#define ROOTLET_CALL_REFUSAL       10 /* EBX, ECX: address; EDX: bytes there; out EBX: bytes of the text */
#define ROOTLET_CALL_COUNT         11 /* the first number that is unknown */

#define ROOTLET_CALL_RESERVED 0x80000000 /* from here on: never assigned to a call */

#define ROOTLET_CONSOLE_WRITE_MAX 4096  /* bytes in one CONSOLE_WRITE */
#define ROOTLET_REFUSAL_MAX       16384 /* no text of REFUSAL is longer */

/* Status in EAX. After an error no other register has changed. */
#define ROOTLET_OK             0
#define ROOTLET_ERROR_UNKNOWN  1 /* no such call */
#define ROOTLET_ERROR_ARGUMENT 2 /* a value out of range */
#define ROOTLET_ERROR_POINTER  3 /* a byte of the buffer is not in the VM's memory */
#define ROOTLET_ERROR_STATE    4 /* the vCPU has been started already; there is no snapshot */
#define ROOTLET_ERROR_MEMORY   5 /* the host has no memory for it */

/* Guest-physical memory map. */
#define ROOTLET_MEM_LOW_END  0x000a0000 /* RAM from 0 */
#define ROOTLET_MEM_TEXT     0x000b8000 /* the 80x25 text page */
#define ROOTLET_MEM_TEXT_END 0x000c0000
#define ROOTLET_MEM_ROM      0x000e0000 /* firmware tables: writes are ignored */
#define ROOTLET_MEM_HIGH     0x00100000 /* RAM again, up to mem= or 3 GiB */
#define ROOTLET_MEM_HIGH_END 0xc0000000
#define ROOTLET_MEM_ABOVE_4G 0x100000000 /* what mem= leaves over */
#define ROOTLET_FLAT16_ENTRY 0x00007c00  /* where a flat16 image is loaded and entered */

/* I/O ports. All others read all ones and ignore writes. */
#define ROOTLET_PORT_PIC_MASTER     0x0020 /* 8259A, 2 ports */
#define ROOTLET_PORT_PIT            0x0040 /* 8254, 4 ports */
#define ROOTLET_PORT_KEYBOARD_DATA  0x0060 /* 8042 */
#define ROOTLET_PORT_SPEAKER        0x0061 /* PIT channel 2: gate and output */
#define ROOTLET_PORT_KEYBOARD       0x0064 /* 8042: status and command; command 0xFE resets */
#define ROOTLET_PORT_CMOS_INDEX     0x0070
#define ROOTLET_PORT_CMOS_DATA      0x0071
#define ROOTLET_PORT_DMA_PAGES      0x0080 /* 16 ports: kept and readable; there is no DMA */
#define ROOTLET_PORT_CONTROL_A      0x0092 /* bit 0 resets when it rises; bit 1: A20, without effect */
#define ROOTLET_PORT_PIC_SLAVE      0x00a0 /* 8259A, 2 ports */
#define ROOTLET_PORT_VGA_MONO       0x03b4 /* 7 ports */
#define ROOTLET_PORT_VGA            0x03c0 /* 32 ports */
#define ROOTLET_PORT_CRTC_INDEX     0x03d4 /* among those of the VGA */
#define ROOTLET_PORT_CRTC_DATA      0x03d5
#define ROOTLET_PORT_UART           0x03f8 /* 16550A, 8 ports: the console */
#define ROOTLET_PORT_PIC_EDGE_LEVEL 0x04d0 /* 2 ports */
#define ROOTLET_PORT_PM1A_EVENT     0x0600 /* 4 ports: PM1a status and enable */
#define ROOTLET_PORT_PM1A_CONTROL   0x0604 /* 16 bits: SLP_EN powers off */
#define ROOTLET_PORT_PM_TIMER       0x0608 /* 32 bits, 3.579545 MHz */
#define ROOTLET_PORT_PCI_ADDRESS    0x0cf8
#define ROOTLET_PORT_RESET          0x0cf9 /* bit 2 resets */
#define ROOTLET_PORT_PCI_DATA       0x0cfc /* 4 ports: a host bridge, and no other device */
#define ROOTLET_PORT_SHUTDOWN       0x8900 /* the bytes "Shutdown" power off */
#define ROOTLET_PORT_PM1A_CONTROL_2 0xb004 /* the same as ROOTLET_PORT_PM1A_CONTROL */

#define ROOTLET_PM1A_SLP_EN 0x2000 /* bit 13 */

/* Devices in memory. */
#define ROOTLET_MMIO_IOAPIC     0xfec00000 /* 24 pins; IRQ 0 is pin 2 */
#define ROOTLET_MMIO_HPET       0xfed00000 /* 3 comparators */
#define ROOTLET_MMIO_LOCAL_APIC 0xfee00000 /* of the vCPU that looks; IA32_APIC_BASE moves it */

/* Interrupt lines of the PIC pair and of the I/O APIC. */
#define ROOTLET_IRQ_PIT      0
#define ROOTLET_IRQ_KEYBOARD 1
#define ROOTLET_IRQ_UART     4
#define ROOTLET_IRQ_RTC      8
#define ROOTLET_IRQ_SCI      9

#endif
