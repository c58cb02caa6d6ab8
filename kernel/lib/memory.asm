; SPDX-License-Identifier: BSD-2-Clause
; memcpy, memmove, memset, memcmp for the freestanding kernel: the compiler calls them by these names.
; System V ABI; no FPU register is touched.
bits 64
default rel
section .text

global memcpy
memcpy:
        mov     rax, rdi
        mov     rcx, rdx
        shr     rcx, 3
        rep movsq
        mov     ecx, edx
        and     ecx, 7
        rep movsb
        ret

global memmove
memmove:
        mov     rax, rdi
        mov     rcx, rdi
        sub     rcx, rsi
        cmp     rcx, rdx                ; unsigned: destination inside [source, source + n)?
        jae     memcpy
        lea     rdi, [rdi + rdx - 1]
        lea     rsi, [rsi + rdx - 1]
        mov     rcx, rdx
        std
        rep movsb
        cld
        ret

global memset
memset:
        mov     r8, rdi
        movzx   eax, sil
        mov     r9, 0x0101010101010101
        imul    rax, r9
        mov     rcx, rdx
        shr     rcx, 3
        rep stosq
        mov     ecx, edx
        and     ecx, 7
        rep stosb
        mov     rax, r8
        ret

global memcmp
memcmp:
        xor     eax, eax
        mov     rcx, rdx
        cmp     rcx, rcx                ; equal when the length is 0
        repe cmpsb
        je      .done
        movzx   eax, byte [rdi - 1]
        movzx   edx, byte [rsi - 1]
        sub     edx, eax
        mov     eax, edx
.done:
        ret
