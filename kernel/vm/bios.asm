; SPDX-License-Identifier: BSD-2-Clause
; The BIOS services of a VM, as far as there are any: 16-bit code in the firmware area, at F800:0, with no help from the
; hypervisor. All vectors lead to its first byte, each by its own segment: vector n is F800 - n : 16 * n, so that CS
; tells n. What is not served is said once on the UART, "no BIOS: INT 0x<n> AH=0x<n>", and returns with CF set.
; IBM Personal System/2 and Personal Computer BIOS Interface Technical Reference, section 2 "Interrupts"; ACPI
; Specification 6.4, 15.1 "INT 15H, E820H - Query System Address Map".

section .rodata
global guest_bios_code:data, guest_bios_code_end:data

BIOS_SEGMENT   equ 0xf800
FACTS_SEGMENT  equ 0xf900       ; struct facts of kernel/vm/firmware.c
BDA_SEGMENT    equ 0x0040
TEXT_SEGMENT   equ 0xb800
RESET_SEGMENT  equ 0xf000       ; where the reset vector leads
RESET_OFFSET   equ 0xe05b

; BIOS data area, from segment 40h.
BDA_EQUIPMENT  equ 0x10
BDA_MEMORY     equ 0x13
BDA_CURSOR     equ 0x50         ; column, row
BDA_CURSOR_END equ 0x60
BDA_TICKS      equ 0x6c
BDA_DISK       equ 0x74
BDA_SAID       equ 0xac         ; reserved on a PC: vector and AH of what was said, inverted
BDA_SAID_END   equ 0xec
BDA_PARTIAL    equ 0xec         ; not 0: what INT 10h sent to the UART has not ended its line

FACTS_ENTRIES  equ 0
FACTS_KIB_88   equ 2
FACTS_KIB_LOW  equ 4
FACTS_BLOCKS   equ 6
FACTS_MAP      equ 8
E820_BYTES     equ 20
SMAP           equ 0x534d4150

; The caller's registers, from BP.
%define R_EDI  bp
%define R_DI   bp
%define R_EBX  bp + 16
%define R_BX   bp + 16
%define R_BL   bp + 16
%define R_BH   bp + 17
%define R_EDX  bp + 20
%define R_DX   bp + 20
%define R_DL   bp + 20
%define R_DH   bp + 21
%define R_ECX  bp + 24
%define R_CX   bp + 24
%define R_EAX  bp + 28
%define R_AX   bp + 28
%define R_AL   bp + 28
%define R_AH   bp + 29
%define R_FLAGS bp + 38
%define R_ES   bp - 2
%define R_BP   bp + 8

FLAG_CF        equ 0x01
FLAG_ZF        equ 0x40

COLUMNS        equ 80
ROWS           equ 25
BLANK          equ 0x0720
GREY           equ 0x07

UART           equ 0x3f8
CRTC           equ 0x3d4
PIC_MASTER     equ 0x20
PIC_SLAVE      equ 0xa0
PIC_READ_ISR   equ 0x0b
PIC_READ_IRR   equ 0x0a
PIC_EOI        equ 0x20
CMOS           equ 0x70

%define AT(label) ((label) - guest_bios_code)

    bits 16
guest_bios_code:
    push ds
    pushad
    mov bp, sp
    push es
    cld
    mov dx, BIOS_SEGMENT
    mov ax, cs
    sub dx, ax                  ; the vector
    jmp BIOS_SEGMENT:AT(.home)
.home:
    mov ax, BDA_SEGMENT
    mov ds, ax
    mov bx, AT(vectors)
.next:
    mov al, [cs:bx]
    cmp al, 0xff
    je unserved
    cmp al, dl
    je .found
    add bx, 3
    jmp .next
.found:
    jmp [cs:bx + 1]

%macro VECTOR 2
    db %1
    dw AT(%2)
%endmacro
vectors:
    VECTOR 0x00, fatal          ; faults: their return would fault again
    VECTOR 0x01, done
    VECTOR 0x02, done
    VECTOR 0x03, done
    VECTOR 0x04, done
    VECTOR 0x06, fatal
    VECTOR 0x07, fatal
    VECTOR 0x08, irq_timer
    VECTOR 0x09, irq
    VECTOR 0x0a, irq
    VECTOR 0x0b, irq
    VECTOR 0x0c, irq_or_fault
    VECTOR 0x0d, irq_or_fault
    VECTOR 0x0e, irq
    VECTOR 0x0f, irq
    VECTOR 0x10, video
    VECTOR 0x11, equipment
    VECTOR 0x12, memory_size
    VECTOR 0x13, disk
    VECTOR 0x15, system
    VECTOR 0x16, keyboard
    VECTOR 0x18, fatal          ; "no bootable device"
    VECTOR 0x19, reset
    VECTOR 0x1a, time
    VECTOR 0x1b, done
    VECTOR 0x1c, done
    VECTOR 0x70, irq_slave
    VECTOR 0x71, irq_slave
    VECTOR 0x72, irq_slave
    VECTOR 0x73, irq_slave
    VECTOR 0x74, irq_slave
    VECTOR 0x75, irq_slave
    VECTOR 0x76, irq_slave
    VECTOR 0x77, irq_slave
    db 0xff

done_well:
    and byte [R_FLAGS], ~FLAG_CF
done:
    pop es
    popad
    pop ds
    iret

; ---- what is not there ----

; DL: the vector.
unserved:
    call say
failed:
    or byte [R_FLAGS], FLAG_CF
    jmp done

fatal:
    call say
halt:
    cli
    hlt
    jmp halt

reset:
    jmp RESET_SEGMENT:RESET_OFFSET

; Says "no BIOS" for vector DL and the caller's AH, unless it has been said. The table is small, so that a guest cannot
; fill the log; one that uses its memory otherwise may hear it again. Keeps DX.
say:
    mov bh, dl
    mov bl, [R_AH]
    not bx
    mov si, BDA_SAID
.next:
    cmp [si], bx
    je .end
    cmp word [si], 0
    je .new
    add si, 2
    cmp si, BDA_SAID_END
    jb .next
.end:
    ret
.new:
    mov [si], bx
    cmp byte [BDA_PARTIAL], 0
    je .begin
    mov byte [BDA_PARTIAL], 0
    mov al, 10
    call send
.begin:
    mov si, AT(text_no_bios)
    call send_text
    mov al, dl
    call send_hex
    mov si, AT(text_ah)
    call send_text
    mov al, [R_AH]
    call send_hex
    mov al, 10
    jmp send

send_text:
    cs lodsb
    test al, al
    jz .end
    call send
    jmp send_text
.end:
    ret

; AL without leading zeros.
send_hex:
    push ax
    shr al, 4
    jz .low
    call .digit
.low:
    pop ax
    and al, 0x0f
.digit:
    cmp al, 10
    jb .number
    add al, 'a' - '0' - 10
.number:
    add al, '0'
    ; falls through

; Sends AL, whatever a driver has set the UART to. The transmitter is always empty. Keeps all registers.
send:
    push ax
    push dx
    mov ah, al
    mov dx, UART + 3
    in al, dx
    push ax                     ; the line control register
    mov al, 3
    out dx, al
    inc dx
    in al, dx
    push ax                     ; the modem control register
    and al, 0x0f                ; no loopback
    out dx, al
    mov al, ah
    mov dx, UART
    out dx, al
    pop ax
    mov dx, UART + 4
    out dx, al
    pop ax
    dec dx
    out dx, al
    pop dx
    pop ax
    ret

text_no_bios: db "no BIOS: INT 0x", 0
text_ah:      db " AH=0x", 0

; ---- interrupts of devices ----

; ZF clear if the master's request for vector DL is in service.
in_service:
    mov cl, dl
    and cl, 7
    mov al, PIC_READ_ISR
    out PIC_MASTER, al
    in al, PIC_MASTER
    mov ah, al
    mov al, PIC_READ_IRR
    out PIC_MASTER, al
    shr ah, cl
    test ah, 1
    ret

irq_timer:
    call in_service
    jz unserved
    inc dword [BDA_TICKS]
    int 0x1c
    jmp irq.end

irq_or_fault:
    call in_service
    jz fatal
    jmp irq.end

irq:
    call in_service
    jz unserved
    cmp dl, 0x09
    jne .end
    in al, 0x60
.end:
    mov al, PIC_EOI
    out PIC_MASTER, al
    jmp done

irq_slave:
    mov al, PIC_EOI
    out PIC_SLAVE, al
    out PIC_MASTER, al
    jmp done

; ---- INT 10h: the screen; what is written appears on the UART as well ----

video:
    mov al, [R_AH]
    cmp al, 0x00
    je video_mode
    cmp al, 0x01
    je done_well                ; the cursor's shape
    cmp al, 0x02
    je video_set_cursor
    cmp al, 0x03
    je video_get_cursor
    cmp al, 0x05
    je done_well                ; the page: there is one
    cmp al, 0x06
    je video_scroll
    cmp al, 0x08
    je video_read
    cmp al, 0x09
    je video_fill
    cmp al, 0x0a
    je video_fill
    cmp al, 0x0e
    je video_teletype
    cmp al, 0x0f
    je video_get_mode
    cmp al, 0x13
    je video_string
    jmp unserved

; Text modes clear the screen; there are no others.
video_mode:
    mov al, [R_AL]
    and al, 0x7f
    cmp al, 3
    ja unserved
    call text_segment
    xor di, di
    mov cx, ROWS * COLUMNS
    mov ax, BLANK
    rep stosw
    xor ax, ax
    call set_cursor
    jmp done_well

video_set_cursor:
    mov ax, [R_DX]
    call set_cursor
    jmp done_well

video_get_cursor:
    mov ax, [BDA_CURSOR]
    mov [R_DX], ax
    mov ax, [BDA_CURSOR_END]
    mov [R_CX], ax
    jmp done_well

; All rows move, or are cleared: windows are not kept.
video_scroll:
    mov cl, [R_AL]
    cmp cl, 0
    je .clear
    cmp cl, ROWS
    jb .rows
.clear:
    mov cl, ROWS
.rows:
    push cx
    call scroll
    pop cx
    dec cl
    jnz .rows
    jmp done_well

video_read:
    call cursor_address
    mov ax, [es:di]
    mov [R_AX], ax
    jmp done_well

; Function 9 with the attribute in BL, 0Ah without. The cursor stays.
video_fill:
    call cursor_address
    mov cx, [R_CX]
    mov al, [R_AL]
.next:
    jcxz .end
    cmp di, ROWS * COLUMNS * 2
    jae .end
    stosb
    cmp byte [R_AH], 0x0a
    je .same
    mov ah, [R_BL]
    mov [es:di], ah
.same:
    inc di
    dec cx
    jmp .next
.end:
    jmp done_well

video_teletype:
    mov al, [R_AL]
    call put
    jmp done_well

video_get_mode:
    mov word [R_AX], COLUMNS << 8 | 3
    mov byte [R_BH], 0
    jmp done_well

; CX characters at ES:BP, from position DX on; bit 0 of AL: the cursor goes with them; bit 1: attributes in between.
video_string:
    push word [BDA_CURSOR]
    mov ax, [R_DX]
    call set_cursor
    mov cx, [R_CX]
    mov si, [R_BP]
    mov es, [R_ES]
.next:
    jcxz .end
    mov al, [es:si]
    inc si
    test byte [R_AL], 2
    jz .plain
    inc si
.plain:
    push es
    call put
    pop es
    dec cx
    jmp .next
.end:
    pop ax
    test byte [R_AL], 1
    jnz done_well
    call set_cursor
    jmp done_well

text_segment:
    mov ax, TEXT_SEGMENT
    mov es, ax
    ret

; ES:DI, the cell under the cursor.
cursor_address:
    call text_segment
    call cursor_offset
    mov di, ax
    shl di, 1
    ret

; AX: cells before the cursor.
cursor_offset:
    push dx
    mov al, [BDA_CURSOR + 1]
    mov dl, COLUMNS
    mul dl
    xor dx, dx
    mov dl, [BDA_CURSOR]
    add ax, dx
    pop dx
    ret

; AL: column, AH: row.
set_cursor:
    push ax
    push bx
    push dx
    cmp al, COLUMNS
    jb .column
    mov al, COLUMNS - 1
.column:
    cmp ah, ROWS
    jb .row
    mov ah, ROWS - 1
.row:
    mov [BDA_CURSOR], ax
    call cursor_offset
    mov bx, ax
    mov dx, CRTC
    mov al, 0x0e
    mov ah, bh
    out dx, ax
    mov al, 0x0f
    mov ah, bl
    out dx, ax
    pop dx
    pop bx
    pop ax
    ret

; Up by one row. Uses AX, CX; keeps SI, DI, ES.
scroll:
    push si
    push di
    push ds
    push es
    call text_segment
    mov ds, ax
    xor di, di
    mov si, COLUMNS * 2
    mov cx, (ROWS - 1) * COLUMNS
    rep movsw
    mov ax, BLANK
    mov cx, COLUMNS
    rep stosw
    pop es
    pop ds
    pop di
    pop si
    ret

; Writes AL as a teletype does. Uses AX, DI, ES; keeps CX, SI.
put:
    cmp al, 7
    je .end
    cmp al, 8
    je .back
    call send
    cmp al, 13
    je .left
    cmp al, 10
    setne [BDA_PARTIAL]
    je .down
    push ax
    call cursor_address
    pop ax
    mov [es:di], al
    mov ax, [BDA_CURSOR]
    inc al
    cmp al, COLUMNS
    jb .set
    mov byte [BDA_CURSOR], 0
.down:
    mov ax, [BDA_CURSOR]
    inc ah
    cmp ah, ROWS
    jb .set
    push cx
    call scroll
    pop cx
    mov ax, [BDA_CURSOR]
.set:
    jmp set_cursor
.left:
    mov ax, [BDA_CURSOR]
    mov al, 0
    jmp set_cursor
.back:
    mov ax, [BDA_CURSOR]
    test al, al
    jz .end
    dec al
    jmp set_cursor
.end:
    ret

; ---- INT 11h, 12h, 13h ----

equipment:
    mov ax, [BDA_EQUIPMENT]
    mov [R_AX], ax
    jmp done

memory_size:
    mov ax, [BDA_MEMORY]
    mov [R_AX], ax
    jmp done

; There is no disk: "invalid command".
disk:
    call say
    mov byte [R_AH], 1
    mov byte [BDA_DISK], 1
    jmp failed

; ---- INT 15h: memory ----

system:
    mov ax, FACTS_SEGMENT
    mov ds, ax
    mov ax, [R_AX]
    cmp ax, 0xe820
    je .map
    cmp ax, 0xe801
    je .e801
    cmp ax, 0x2401              ; A20 is on
    je .a20
    cmp ah, 0x88
    je .kib
.none:
    mov ax, BDA_SEGMENT
    mov ds, ax
    call say
    mov byte [R_AH], 0x86
    jmp failed
.a20:
    mov byte [R_AH], 0
    jmp done_well
.kib:
    mov ax, [FACTS_KIB_88]
    mov [R_AX], ax
    jmp done_well
.e801:
    mov ax, [FACTS_KIB_LOW]
    mov bx, [FACTS_BLOCKS]
    mov [R_AX], ax
    mov [R_CX], ax
    mov [R_BX], bx
    mov [R_DX], bx
    jmp done_well
.map:
    cmp dword [R_EDX], SMAP
    jne .none
    cmp dword [R_ECX], E820_BYTES
    jb .none
    mov eax, [R_EBX]
    movzx ecx, word [FACTS_ENTRIES]
    cmp eax, ecx
    jae failed
    imul si, ax, E820_BYTES
    add si, FACTS_MAP
    inc ax
    cmp ax, cx
    jb .more
    xor ax, ax                  ; this is the last one
.more:
    mov [R_EBX], eax
    mov es, [R_ES]
    mov di, [R_DI]
    mov cx, E820_BYTES / 2
    rep movsw
    mov dword [R_EAX], SMAP
    mov dword [R_ECX], E820_BYTES
    jmp done_well

; ---- INT 16h: nobody types ----

keyboard:
    mov al, [R_AH]
    and al, 0xef                ; 10h to 12h: the same for a longer keyboard
    jz .wait
    cmp al, 0x01
    je .none
    cmp al, 0x02
    jne unserved
    mov byte [R_AL], 0          ; no shift key
    jmp done_well
.none:
    or byte [R_FLAGS], FLAG_ZF
    jmp done
.wait:
    call say
.sleep:
    sti
    hlt
    jmp .sleep

; ---- INT 1Ah: the time of day, from the CMOS clock ----

time:
    mov al, [R_AH]
    cmp al, 0x00
    je .ticks
    cmp al, 0x02
    je .time
    cmp al, 0x04
    je .date
    jmp unserved
.time:
    mov al, 4
    call cmos
    mov [R_CX + 1], al
    mov al, 2
    call cmos
    mov [R_CX], al
    mov al, 0
    call cmos
    mov [R_DH], al
    mov byte [R_DL], 0
    jmp done_well
.date:
    mov al, 0x32
    call cmos
    mov [R_CX + 1], al
    mov al, 9
    call cmos
    mov [R_CX], al
    mov al, 8
    call cmos
    mov [R_DH], al
    mov al, 7
    call cmos
    mov [R_DL], al
    jmp done_well
.ticks:                         ; since midnight: seconds * 1193182 / 65536
    mov al, 4
    call cmos_binary
    imul ebx, eax, 60
    mov al, 2
    call cmos_binary
    add ebx, eax
    imul ebx, ebx, 60
    mov al, 0
    call cmos_binary
    add eax, ebx
    mov ecx, 1193182
    mul ecx
    shrd eax, edx, 16
    mov [R_DX], ax
    shr eax, 16
    mov [R_CX], ax
    mov byte [R_AL], 0
    jmp done_well

; Register AL, BCD as the clock is set up.
cmos:
    out CMOS, al
    in al, CMOS + 1
    ret

; The same as a number in EAX.
cmos_binary:
    call cmos
    mov ah, al
    shr ah, 4
    and al, 0x0f
    aad
    movzx eax, al
    ret

guest_bios_code_end:
