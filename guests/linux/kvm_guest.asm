; SPDX-License-Identifier: BSD-2-Clause
; What the guest of kvm_check.c executes, at 1000H: real mode, protected mode, long mode. Each step sends a letter by
; OUT to port 10H. Between them: memory that is not there at D0000H, the interrupts of the PIT by the PIC, and a second
; CPU by INIT and SIPI.

PORT      equ 0x10
MMIO      equ 0xd0000
MMIO_SAYS equ 0x5a
TICKS     equ 3
TICK_IRQ0 equ 0x20
PIT_COUNT equ 11932 ; 10 ms
ICR_LOW   equ 0xfee00300
ICR_HIGH  equ 0xfee00310
APIC_SVR  equ 0xfee000f0
APIC_PAGE equ 0x1f7 ; the page of 2 MiB in the fourth GiB
INIT      equ 0x4500
SIPI      equ 0x4600
PML4      equ 0x8000 ; and below it a PDPT and two page directories
STACK     equ 0x7000

org 0x1000

%macro SAY 1
    mov al, %1
    out PORT, al
%endmacro

bits 16
start:
    xor ax, ax
    mov ss, ax
    mov sp, STACK
    mov ds, ax
    mov word [TICK_IRQ0 * 4], tick
    mov word [TICK_IRQ0 * 4 + 2], 0
    mov word [0xf0 * 4], spurious
    SAY 'R'

    mov ax, MMIO >> 4
    mov es, ax
    mov al, MMIO_SAYS
    mov [es:0], al
    mov al, [es:1]
    cmp al, MMIO_SAYS + 1
    jne fail
    SAY 'M'

    mov al, 0x11 ; the PIC: edges, ICW4; vectors from 20H on; no slave is asked; 8086 mode; IRQ 0 alone
    out 0x20, al
    mov al, TICK_IRQ0
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34 ; the PIT: channel 0, periodic
    out 0x43, al
    mov al, PIT_COUNT & 0xff
    out 0x40, al
    mov al, PIT_COUNT >> 8
    out 0x40, al
.wait:
    sti
    hlt
    cli
    cmp byte [ticks], TICKS
    jb .wait
    mov al, 0xff
    out 0x21, al
    SAY 'T'

    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 0x08:protected

fail:
    SAY 'F'
    hlt
    jmp fail

tick:
    inc byte [ticks]
    push ax
    mov al, 0x20
    out 0x20, al
    pop ax
spurious:
    iret

bits 32
protected:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, STACK
    SAY 'P'

    mov edi, PML4
    mov ecx, 4 * 4096 / 4
    xor eax, eax
    rep stosd
    mov dword [PML4], PML4 + 0x1003
    mov dword [PML4 + 0x1000], PML4 + 0x2003
    mov dword [PML4 + 0x1000 + 3 * 8], PML4 + 0x3003
    mov dword [PML4 + 0x2000], 0x83
    mov dword [PML4 + 0x3000 + APIC_PAGE * 8], 0xfee00083
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    jmp 0x18:long_mode

bits 64
long_mode:
    mov rax, 0x123456789abcdef0
    mov r15, rax
    cmp r15, rax
    jne .fail
    SAY 'L'

    mov ebx, APIC_SVR
    mov dword [rbx], 0x1f0
    mov ebx, ICR_HIGH
    mov dword [rbx], 1 << 24
    mov ebx, ICR_LOW
    mov dword [rbx], INIT
    mov dword [rbx], SIPI | second >> 12
.wait:
    pause
    cmp byte [abs second_is_up], 1
    jne .wait
    SAY 'E'
.stop:
    hlt
    jmp .stop
.fail:
    SAY 'F'
    jmp .stop

align 8
gdt:
    dq 0
    dq 0x00cf9b000000ffff
    dq 0x00cf93000000ffff
    dq 0x00af9b000000ffff
gdt_pointer:
    dw gdt_pointer - gdt - 1
    dd gdt
ticks:        db 0
second_is_up: db 0

second equ 0x2000 ; a SIPI's vector is a page
times second - 0x1000 - ($ - $$) db 0
bits 16
    SAY 'S'
    xor ax, ax
    mov ds, ax
    mov byte [second_is_up], 1
.stop:
    cli
    hlt
    jmp .stop
