; SPDX-License-Identifier: BSD-2-Clause
; A stand-in for the hypervisor that tests the tools: prints its command line and each module's line as GRUB handed them
; over, then ends the way the first letter of the command line says:
;   o: end status=ok and power-off     f: end status=fail and power-off    p: a panic line and power-off
;   q: power-off without an end line   s: end status=ok, no power-off      h: hangs with interrupts off
;   t: triple fault                    g: hangs in a loop
; Runs in 32-bit protected mode as multiboot2 leaves it (Multiboot2 Specification 3.3 "I386 machine state").

MAGIC       equ 0xE85250D6
UART        equ 0x3F8
LSR_EMPTY   equ 0x40            ; transmitter and its FIFO are empty
TAG_END     equ 0
TAG_CMDLINE equ 1
TAG_MODULE  equ 3

bits 32
section .text
header:
        dd MAGIC, 0, header_end - header, -(MAGIC + header_end - header)
        dw 0, 0
        dd 8
header_end:

global _start
_start:
        mov esp, stack_top
        mov dx, UART + 3
        mov al, 3               ; eight bits, no parity
        out dx, al
        mov byte [how], 'o'
        lea ebx, [ebx + 8]      ; the first tag
.tag:
        mov eax, [ebx]
        cmp eax, TAG_END
        je act
        lea esi, [ebx + 8]
        mov edi, command_line_is
        cmp eax, TAG_CMDLINE
        jne .not_command_line
        mov cl, [esi]
        test cl, cl
        jz .print
        mov [how], cl
.print:
        xchg esi, edi
        call print
        mov esi, edi
        call print
        mov esi, end_of_line
        call print
        jmp .next
.not_command_line:
        lea esi, [ebx + 16]
        mov edi, module_is
        cmp eax, TAG_MODULE
        je .print
.next:
        mov eax, [ebx + 4]
        add eax, 7
        and eax, -8
        add ebx, eax
        jmp .tag

act:
        mov al, [how]
        cmp al, 'h'
        je hang
        cmp al, 'g'
        je $
        cmp al, 't'
        je triple
        cmp al, 'q'
        je power_off
        mov esi, panic
        cmp al, 'p'
        je .last
        mov esi, fail
        cmp al, 'f'
        je .last
        mov esi, ok
.last:
        call print
        cmp byte [how], 's'
        je hang
power_off:
        mov dx, 0xB004          ; the ACPI power-off of Bochs
        mov ax, 0x2000
        out dx, ax
hang:
        cli
        hlt
        jmp hang
triple:
        lidt [no_idt]
        ud2

print:                          ; ESI: a string with a zero at its end
        lodsb
        test al, al
        jz .done
        mov dx, UART
        out dx, al
        mov dx, UART + 5
.wait:
        in al, dx
        test al, LSR_EMPTY
        jz .wait
        jmp print
.done:
        ret

command_line_is: db "rootlet: probe options=", 0
module_is:       db "rootlet: probe module=", 0
panic:           db "rootlet: panic probe", 10, "rootlet: end status=fail", 10, 0
fail:            db "rootlet: end status=fail", 10, 0
ok:              db "rootlet: end status=ok", 10, 0
end_of_line:     db 10, 0
no_idt:          dw 0
                 dd 0

section .bss
how:            resb 1
        alignb 16
        resb 4096
stack_top:
