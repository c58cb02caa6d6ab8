; SPDX-License-Identifier: BSD-2-Clause
; Interrupt latency: a loop that knows at each moment when it last ran, and a handler whose first instruction reads the
; clock.

%include "rootlet_abi.inc"
%define APIC_EOI 0xfee000b0

bits 32
section .text

; u32 latency_measure(void): turns interrupts on, spins until latency_interrupt has run, returns the TSC ticks between
; the last reading of the loop and the first of the handler. The time source must be armed; interrupts are off before
; and after.
global latency_measure
latency_measure:
    push ebx
    push esi
    xor ebx, ebx
    sti
.spin:
    rdtsc
    mov esi, eax
    test ebx, ebx
    jz .spin
    cli
    lea eax, [ebx - 1]
    pop esi
    pop ebx
    ret

; The gate for the interrupt. EBX becomes the difference plus 1: with several CPUs in Bochs the clock moves in steps,
; and the difference may be 0. EAX and EDX are not kept: the loop reads them anew, but for its
; `mov esi, eax`, which does not matter any more.
global latency_interrupt
latency_interrupt:
    rdtsc
    sub eax, esi
    lea ebx, [eax + 1]
    mov al, 0x20
    out ROOTLET_PORT_PIC_MASTER, al
    iretd

; The same for an interrupt of the local APIC.
global apic_latency_interrupt
apic_latency_interrupt:
    rdtsc
    sub eax, esi
    lea ebx, [eax + 1]
    mov dword [APIC_EOI], 0
    iretd

; The gate for an interrupt of the local APIC: EBX becomes the time that its EOI takes, plus 1.
global eoi_interrupt
eoi_interrupt:
    rdtsc
    mov ecx, eax
    mov dword [APIC_EOI], 0
    rdtsc
    sub eax, ecx
    lea ebx, [eax + 1]
    iretd
