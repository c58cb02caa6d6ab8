; SPDX-License-Identifier: BSD-2-Clause
; From the loader's 32-bit state to long mode, in ring 0. The first 4 GiB are mapped one to one in 2 MiB pages of the
; supervisor; the page at 4 MiB is a user's with protection key 1.

MULTIBOOT_MAGIC equ 0x1badb002
MULTIBOOT_FLAGS equ 3

PAGE_PRESENT  equ 0x01
PAGE_WRITABLE equ 0x02
PAGE_USER     equ 0x04
PAGE_LARGE    equ 0x80
PAGE_KEY_1    equ 1 << 27 ; bits 62:59, in the upper half of the entry
USER_PAGE     equ 2       ; number of the 2 MiB page at 4 MiB

MSR_EFER equ 0xc0000080
EFER_LME equ 0x100
CR0_PG   equ 0x80000000
CR4_PAE  equ 0x20
CODE64   equ 0x08
DATA     equ 0x10

global _start, pku_fault
extern guest_start, pku_resume, pku_error, pku_address

section .multiboot align=4
    dd MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

section .text
bits 32
_start:
    cld
    mov esp, stack_top
    push eax
    push ebx

    mov dword [pml4], pdpt + PAGE_PRESENT + PAGE_WRITABLE + PAGE_USER
    mov eax, PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE
    mov edi, directories
.map:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    jnc .map ; up to 4 GiB
    mov eax, directories + PAGE_PRESENT + PAGE_WRITABLE + PAGE_USER
    mov edi, pdpt
.directory:
    mov [edi], eax
    add edi, 8
    add eax, 4096
    cmp edi, pdpt + 4 * 8
    jb .directory
    or dword [directories + USER_PAGE * 8], PAGE_USER
    or dword [directories + USER_PAGE * 8 + 4], PAGE_KEY_1

    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, pml4
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    lgdt [gdt_pointer]
    jmp CODE64:.long

bits 64
default rel
.long:
    mov eax, DATA
    mov ss, eax
    mov ds, eax
    mov es, eax
    pop rsi ; two 32-bit pushes: EBX below EAX
    mov rdi, rsi
    shr rdi, 32
    mov esi, esi
    call guest_start

; #PF: notes error code and address, goes on where the code that expected it says.
pku_fault:
    push rax
    mov rax, cr2
    mov [pku_address], rax
    mov eax, [rsp + 8]
    mov [pku_error], eax
    mov rax, [pku_resume]
    mov [rsp + 16], rax
    pop rax
    add rsp, 8
    iretq

section .data
align 8
gdt:
    dq 0
    dq 0x00af9b000000ffff ; CODE64
    dq 0x00cf93000000ffff ; DATA
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dq gdt

section .bss align=4096
pml4:        resb 4096
pdpt:        resb 4096
directories: resb 4 * 4096
    resb 16384
stack_top:
