; SPDX-License-Identifier: BSD-2-Clause
; Whether XSAVEC puts a component where the SDM says: after the header, at byte 576 of the area. Bochs 2.7 begins at
; byte 416, over the header, while its XRSTOR reads at 576: a guest that used XSAVEC or XSAVES there would lose
; registers. Called once at boot, before any guest, with XCR0's x87, SSE and AVX bits set; leaves the upper half of
; YMM0 0. SDM 1 13.4.3 "Extended Region of an XSAVE Area", 13.10 "Operation of XSAVEC".
default rel
bits 64

%define XSAVE_HEADER   512
%define XSAVE_EXTENDED 576

section .text.xsave_check_compaction

; bool xsave_check_compaction(void *area): area: 1 KiB of zeros, aligned to 64
global xsave_check_compaction
xsave_check_compaction:
    vcmpps ymm0, ymm0, ymm0, 0xf    ; true: all ones, so that the AVX state is in use
    mov eax, 7
    xor edx, edx
    xsavec64 [rdi]
    vxorps ymm0, ymm0, ymm0
    mov rax, [rdi + XSAVE_EXTENDED]
    and rax, [rdi + XSAVE_EXTENDED + 8]
    inc rax                         ; 0 if the upper half of YMM0 is there
    or rax, [rdi + XSAVE_HEADER + 16]   ; and this part of the header is still 0
    setz al
    movzx eax, al
    ret
