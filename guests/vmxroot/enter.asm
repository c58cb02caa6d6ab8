; SPDX-License-Identifier: BSD-2-Clause
; The VM entry of guests/vmxroot, the place of its exits, and the inner guest.
; SDM 3C 30.2 "Conventions".
bits 32

HOST_RSP equ 0x6c14

section .text

; u32 vmxroot_enter(bool launch): 0 after a VM exit, else the flags of VMfail.
global vmxroot_enter
vmxroot_enter:
        mov     edx, [esp + 4]
        push    ebx
        push    esi
        push    edi
        push    ebp
        mov     eax, HOST_RSP
        vmwrite eax, esp
        test    dl, dl
        jnz     .launch
        vmresume
        jmp     .failed
.launch:
        vmlaunch
.failed:
        pushfd
        pop     eax
        and     eax, 0x8d5
        jmp     return

global vmxroot_exit
vmxroot_exit:
        xor     eax, eax
return:
        pop     ebp
        pop     edi
        pop     esi
        pop     ebx
        ret

global vmxroot_inner
vmxroot_inner:
        cpuid
        hlt
        jmp     vmxroot_inner
