; SPDX-License-Identifier: BSD-2-Clause
; Holds x87 and vector registers for a long time: vectors_run_<width>(struct vector_state *state, u32 rounds) loads the
; state, adds the steps to the values `rounds` times without touching memory, and stores the state again. cdecl, 32-bit.

bits 32
section .text

VALUE     equ 0
STEP      equ 256
ROW       equ 64
X87_VALUE equ 512
X87_STEP  equ 520
MXCSR     equ 528
FCW       equ 532
MASK      equ 536

%macro LOAD_COMMON 0
    mov eax, [esp + 4]
    mov ecx, [esp + 8]
    fninit
    fldcw [eax + FCW]
    fld qword [eax + X87_STEP]
    fld qword [eax + X87_VALUE]
    ldmxcsr [eax + MXCSR]
%endmacro

%macro STORE_COMMON 0
    fstp qword [eax + X87_VALUE]
    fstp qword [eax + X87_STEP]
    fnstcw [eax + FCW]
    stmxcsr [eax + MXCSR]
%endmacro

global vectors_run_sse
vectors_run_sse:
    LOAD_COMMON
%assign i 0
%rep 4
    movapd xmm %+ i, [eax + VALUE + i * ROW]
    %assign j i + 4
    movapd xmm %+ j, [eax + STEP + i * ROW]
    %assign i i + 1
%endrep
.round:
    addpd xmm0, xmm4
    addpd xmm1, xmm5
    addpd xmm2, xmm6
    addpd xmm3, xmm7
    fadd st0, st1
    dec ecx
    jnz .round
%assign i 0
%rep 4
    movapd [eax + VALUE + i * ROW], xmm %+ i
    %assign j i + 4
    movapd [eax + STEP + i * ROW], xmm %+ j
    %assign i i + 1
%endrep
    STORE_COMMON
    ret

; %1: function suffix, %2: register name
%macro VEX_RUN 2
%define V(n) %2 %+ n
global vectors_run_%1
vectors_run_%1:
    LOAD_COMMON
%assign i 0
%rep 4
    vmovapd V(i), [eax + VALUE + i * ROW]
    %assign j i + 4
    vmovapd V(j), [eax + STEP + i * ROW]
    %assign i i + 1
%endrep
%ifidn %2, zmm
    kmovw k1, [eax + MASK]
%endif
.round:
    vaddpd V(0), V(0), V(4)
    vaddpd V(1), V(1), V(5)
    vaddpd V(2), V(2), V(6)
    vaddpd V(3), V(3), V(7)
    fadd st0, st1
    dec ecx
    jnz .round
%assign i 0
%rep 4
    vmovapd [eax + VALUE + i * ROW], V(i)
    %assign j i + 4
    vmovapd [eax + STEP + i * ROW], V(j)
    %assign i i + 1
%endrep
%ifidn %2, zmm
    kmovw [eax + MASK], k1
%endif
    STORE_COMMON
    ret
%endmacro

VEX_RUN avx, ymm
VEX_RUN avx512, zmm
