; SPDX-License-Identifier: BSD-2-Clause
; An XMM or YMM register by number (vector.h): edi = number, rsi = memory, edx = 0 for XMM, else YMM. A chain of
; compares, since an indirect jump would be a target for speculation.
bits 64
default rel

section .text

; %1: prefix of labels; %2: 0 and 1 read, 2 and 3 write; 1 and 3 YMM
%macro CHAIN 2
%assign n 0
%rep 16
        cmp     edi, n
        jne     .%1%[n]
%if %2 == 0
        movups  [rsi], xmm%[n]
%elif %2 == 1
        vmovups [rsi], ymm%[n]
%elif %2 == 2
        movups  xmm%[n], [rsi]
%else
        vmovups ymm%[n], [rsi]
%endif
        ret
.%1%[n]:
%assign n n + 1
%endrep
        ret
%endmacro

global vector_read
vector_read:
        test    edx, edx
        jnz     .wide
        CHAIN   narrow, 0
.wide:
        CHAIN   wide, 1

global vector_write
vector_write:
        test    edx, edx
        jnz     .wide
        CHAIN   narrow, 2
.wide:
        CHAIN   wide, 3
