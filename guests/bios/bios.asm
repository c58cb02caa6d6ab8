; SPDX-License-Identifier: BSD-2-Clause
; Asks the BIOS services of a VM for what boot sectors ask (kind=flat16, mem=2M): memory, screen, time, a timer's
; interrupt; and for what is not there. Prints by INT 10h alone. In the end: reason=poweroff.

%include "rootlet_abi.inc"

TICKS       equ 5
PIT_DIVISOR equ 1193            ; about 1 ms
BDA_TICKS   equ 0x46c
BDA_CURSOR  equ 0x450
SMAP        equ 0x534d4150
CANARY      equ 0x12345678

%macro EXPECT 2                 ; condition under which all is well, text
    j%1 %%well
    mov si, %%text
    jmp failed
%%text: db %2, 0
%%well:
%endmacro

    bits 16
    org ROOTLET_FLAT16_ENTRY

start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, start
    mov si, text_hello
    call print

; The PIT as the firmware has left it: its count moves from the start, and IRQ 0 comes to the BIOS's handler.
    call pit_count
    mov bx, ax
    mov cx, 1000
.count:
    call pit_count
    cmp ax, bx
    loope .count
    EXPECT ne, "the PIT's count stands"
    mov ebx, [BDA_TICKS]
    sti
.tick:
    hlt
    cmp [BDA_TICKS], ebx
    je .tick
    cli

    int 0x12
    cmp ax, 640
    EXPECT e, "INT 12h"
    int 0x11
    test ax, 0x220              ; 80x25, a serial port
    EXPECT nz, "INT 11h"

; INT 15h: the map of 2 MiB, and the older sizes.
    xor ebx, ebx
    mov bp, map
.next:
    mov eax, 0xffffe820
    movzx eax, ax
    mov edx, SMAP
    mov ecx, 24
    mov di, buffer
    stc
    int 0x15
    EXPECT nc, "E820 fails"
    cmp eax, SMAP
    EXPECT e, "E820: EAX"
    cmp ecx, 20
    EXPECT e, "E820: ECX"
    mov si, buffer
    mov di, bp
    mov cx, 20
    repe cmpsb
    EXPECT e, "E820: an entry"
    add bp, 20
    test ebx, ebx
    jnz .next
    cmp bp, map.end
    EXPECT e, "E820: entries"
    mov ebx, 3
    mov ecx, 24
    mov eax, 0xe820
    int 0x15
    EXPECT c, "E820: an entry too many"
    mov ah, 0x88
    stc
    int 0x15
    EXPECT nc, "88h fails"
    cmp ax, 1024
    EXPECT e, "88h"
    mov ax, 0xe801
    stc
    int 0x15
    EXPECT nc, "E801h fails"
    shl eax, 16
    mov ax, bx
    cmp eax, 1024 << 16
    EXPECT e, "E801h"
    mov ax, 0x2401
    stc
    int 0x15
    EXPECT nc, "A20"

; INT 10h: cursor, mode, a character on the screen, a string.
    mov ax, 0x0003
    int 0x10
    cmp word [BDA_CURSOR], 0
    EXPECT e, "mode 3 leaves the cursor"
    mov ah, 0x02
    mov bh, 0
    mov dx, 0x0a05
    int 0x10
    xor dx, dx
    mov ah, 0x03
    int 0x10
    cmp dx, 0x0a05
    EXPECT e, "the cursor is elsewhere"
    mov ah, 0x0f
    int 0x10
    cmp ax, 80 << 8 | 3
    EXPECT e, "the mode"
    mov ax, 0x0941
    mov bx, 0x001e
    mov cx, 2
    int 0x10
    mov ah, 0x08
    int 0x10
    cmp ax, 0x1e41
    EXPECT e, "the character at the cursor"
    mov ax, 0x1301
    mov bx, 0x0007
    mov cx, text_string.end - text_string
    mov dx, 0x1800              ; the last row: its end scrolls
    mov bp, text_string
    int 0x10
    mov ah, 0x03
    int 0x10
    cmp dx, 0x1800
    EXPECT e, "the string does not scroll"
    push es
    push word ROOTLET_MEM_TEXT >> 4
    pop es
    cmp byte [es:23 * 160], 's'
    pop es
    EXPECT e, "the string is not on the screen"

; INT 16h: no key; INT 1Ah: the time goes on.
    cmp sp, 0                   ; ZF clear
    mov ah, 0x01
    int 0x16
    EXPECT z, "a key"
    mov ah, 0x02
    int 0x1a
    EXPECT nc, "no time"
    cmp ch, 0x23
    EXPECT be, "the hour"
    mov ah, 0x04
    int 0x1a
    cmp ch, 0x20
    EXPECT e, "the century"
    mov ah, 0x00
    int 0x1a
    mov di, cx
    mov bp, dx
    mov ah, 0x00
    int 0x1a
    cmp cx, di
    EXPECT e, "the ticks"
    cmp dx, bp
    EXPECT ae, "the ticks go back"

; IRQ 0 by the BIOS's handler.
    mov si, pic_sequence        ; pairs of port and value, ended by port 0
.program:
    lodsw
    xchg dx, ax
    test dx, dx
    jz .wait
    lodsb
    out dx, al
    jmp .program
.wait:
    sti
    hlt
    cli
    cmp dword [BDA_TICKS], TICKS
    jb .wait

; What is not there, twice each: it is said once.
    mov byte [turns], 2
.again:
    mov ax, 0x0201
    mov dl, 0x80
    clc
    int 0x13
    EXPECT c, "a disk"
    cmp ah, 1
    EXPECT e, "the disk's status"
    mov ebx, CANARY
    mov ecx, CANARY
    mov edx, CANARY
    mov esi, CANARY
    mov edi, CANARY
    mov ebp, CANARY
    mov eax, 0x99abcdef
    mov ah, 0x5a
    int 0x42
    EXPECT c, "INT 42h is served"
    cmp eax, 0x99ab5aef
    EXPECT e, "EAX"
    cmp ebx, CANARY
    EXPECT e, "EBX"
    cmp ecx, CANARY
    EXPECT e, "ECX"
    cmp edx, CANARY
    EXPECT e, "EDX"
    cmp esi, CANARY
    EXPECT e, "ESI"
    cmp edi, CANARY
    EXPECT e, "EDI"
    cmp ebp, CANARY
    EXPECT e, "EBP"
    cmp sp, start
    EXPECT e, "SP"
    dec byte [turns]
    jnz .again
    mov si, text_half
    call print
    mov ah, 0x7f
    int 0xff                    ; in the middle of a line

    mov si, text_done
    call print
    mov dx, ROOTLET_PORT_PM1A_CONTROL
    mov ax, ROOTLET_PM1A_SLP_EN
    out dx, ax
    hlt

; SI: what is wrong. A reset tells the failure.
failed:
    xor ax, ax
    mov ds, ax
    push si
    mov si, text_failed
    call print
    pop si
    call print
    mov si, text_end
    call print
    int 0x19
    hlt

; AX: the count of channel 0.
pit_count:
    mov al, 0                   ; latch it
    out 0x43, al
    in al, 0x40
    mov ah, al
    in al, 0x40
    xchg al, ah
    ret

print:
    lodsb
    test al, al
    jz .end
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    jmp print
.end:
    ret

%macro OUTPUT 2
    dw %1
    db %2
%endmacro
pic_sequence:
    OUTPUT ROOTLET_PORT_PIC_MASTER, 0x11
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, 0x08
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, 0x04
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, 0x01
    OUTPUT ROOTLET_PORT_PIC_MASTER + 1, 0xfe ; IRQ 0 only
    OUTPUT ROOTLET_PORT_PIT + 3, 0x34
    OUTPUT ROOTLET_PORT_PIT, PIT_DIVISOR & 0xff
    OUTPUT ROOTLET_PORT_PIT, PIT_DIVISOR >> 8
    dw 0

map:
    dq 0, 0xa0000
    dd 1
    dq 0xe0000, 0x20000
    dd 2
    dq 0x100000, 0x100000
    dd 1
.end:

turns: db 0

text_hello:  db "bios: hello by INT 10h", 13, 10, 0
text_string: db "string", 13, 10
.end:
text_half:   db "half a line", 0
text_done:   db "bios ok", 13, 10, 0
text_failed: db "FAIL: ", 0
text_end:    db 13, 10, 0

buffer: times 24 db 0
