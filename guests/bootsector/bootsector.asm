; SPDX-License-Identifier: BSD-2-Clause
; A boot sector in real mode (kind=flat16): prints on the UART and on the text page, takes timer interrupts through the
; interrupt vector table, checks that a bad RDMSR gives #GP as real mode delivers it (no error code), and powers off.
; It needs no BIOS; guests/bios shows what there is. Entered at 0:0x7C00 with all segments 0. In the end:
; reason=poweroff.

%include "rootlet_abi.inc"

TICKS       equ 20
PIT_DIVISOR equ 1193            ; about 1 ms
VECTOR_GP   equ 13
VECTOR_IRQ0 equ 0x20
BAD_MSR     equ 0x12345678

    bits 16
    org ROOTLET_FLAT16_ENTRY

start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, start
    mov si, text_hello
    call print
    call show

    mov word [VECTOR_GP * 4], general_protection
    mov [VECTOR_GP * 4 + 2], ax
    mov word [VECTOR_IRQ0 * 4], timer
    mov [VECTOR_IRQ0 * 4 + 2], ax

    mov ecx, BAD_MSR
bad:
    rdmsr
    cmp byte [faults], 1
    jne failed

    mov si, pic_sequence        ; pairs of port and value, ended by port 0
.next:
    lodsw
    xchg dx, ax
    test dx, dx
    jz .wait
    lodsb
    out dx, al
    jmp .next
.wait:
    sti
    hlt
    cli
    cmp byte [ticks], TICKS
    jb .wait

    mov si, text_done
    call print
    mov dx, ROOTLET_PORT_PM1A_CONTROL
    mov ax, ROOTLET_PM1A_SLP_EN
    out dx, ax
    hlt                         ; interrupts are off: for good
failed:
    mov si, text_failed         ; a reset tells the failure
    call print
    mov al, 6
    mov dx, ROOTLET_PORT_RESET
    out dx, al
    hlt

general_protection:             ; the frame is IP, CS, FLAGS: a fault points to the instruction itself
    inc byte [faults]
    push bp
    mov bp, sp
    add word [bp + 2], skip_bytes
    pop bp
    iret
skip_bytes equ 2                ; RDMSR

timer:
    inc byte [ticks]
    push ax
    mov al, 0x20
    out ROOTLET_PORT_PIC_MASTER, al
    pop ax
    iret

; Prints the text at DS:SI on the UART. Keeps AX.
print:
    push ax
.next:
    mov dx, ROOTLET_PORT_UART + 5
.full:
    in al, dx
    test al, 0x20
    jz .full
    lodsb
    test al, al
    jz .end
    mov dx, ROOTLET_PORT_UART
    out dx, al
    jmp .next
.end:
    pop ax
    ret

; Shows the greeting in the top row of the text page. Keeps AX.
show:
    push ax
    mov ax, ROOTLET_MEM_TEXT >> 4
    mov es, ax
    xor di, di
    mov si, text_hello
    mov ah, 0x07
.next:
    lodsb
    cmp al, 10
    jbe .end
    stosw
    jmp .next
.end:
    pop ax
    ret

%macro OUTPUT 2
    dw %1
    db %2
%endmacro
pic_sequence:
    OUTPUT ROOTLET_PORT_PIC_MASTER, 0x11
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, VECTOR_IRQ0
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, 0x04
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, 0x01
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, 0xfe ; IRQ 0 only
    OUTPUT ROOTLET_PORT_PIT + 3, 0x34
    OUTPUT ROOTLET_PORT_PIT, PIT_DIVISOR & 0xff
    OUTPUT ROOTLET_PORT_PIT, PIT_DIVISOR >> 8
    dw 0

ticks:  db 0
faults: db 0

text_hello:  db "bootsector: hello from real mode", 10, 0
text_done:   db "bootsector ok", 10, 0
text_failed: db "FAIL: bootsector", 10, 0

    times 510 - ($ - $$) db 0
    dw 0xaa55
