; SPDX-License-Identifier: BSD-2-Clause
; The outer machine's console, inside tools/run-kvm: copies standard input to Bochs's port 0xE9, which writes it to its
; own standard output at once. A line over the emulated UART takes seconds.
; e9 off: powers the machine off afterwards, by the word that Bochs expects at port 0x8900.
bits 64

%define SYS_READ  0
%define SYS_EXIT  60
%define SYS_IOPL  172
%define PORT      0xe9
%define OFF_PORT  0x8900
%define BYTES     4096

section .rodata
off_word: db "Shutdown"
OFF_BYTES equ $ - off_word

section .bss
buffer: resb BYTES

section .text
global _start
_start:
    mov r12, [rsp] ; argc
    mov eax, SYS_IOPL
    mov edi, 3
    syscall
    test rax, rax
    jnz .fail
.read:
    xor eax, eax ; SYS_READ
    xor edi, edi
    lea rsi, [rel buffer]
    mov edx, BYTES
    syscall
    test rax, rax
    jle .end
    mov rcx, rax
    lea rsi, [rel buffer]
    mov edx, PORT
    rep outsb
    jmp .read
.end:
    cmp r12, 1
    je .exit
    mov ecx, OFF_BYTES
    lea rsi, [rel off_word]
    mov edx, OFF_PORT
    rep outsb
.exit:
    xor edi, edi
    mov eax, SYS_EXIT
    syscall
.fail:
    mov edi, 1
    mov eax, SYS_EXIT
    syscall
