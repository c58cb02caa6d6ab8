; SPDX-License-Identifier: BSD-2-Clause
; Sending, sleeping, and the gate's handler.

X2_EOI  equ 0x80b
X2_SELF equ 0x83f

bits 32
section .text
global selfipi_interrupt, selfipi_send, selfipi_sleep
extern selfipi_came

; void selfipi_send(u32 vector)
selfipi_send:
    mov ecx, X2_SELF
    mov eax, [esp + 4]
    xor edx, edx
    wrmsr
    ret

; void selfipi_sleep(void): interrupts are off before and after.
selfipi_sleep:
    sti
    hlt
    cli
    ret

selfipi_interrupt:
    push eax
    push ecx
    push edx
    inc dword [selfipi_came]
    mov ecx, X2_EOI
    xor eax, eax
    xor edx, edx
    wrmsr
    pop edx
    pop ecx
    pop eax
    iretd
