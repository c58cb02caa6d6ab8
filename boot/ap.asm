; SPDX-License-Identifier: BSD-2-Clause
; Where an application processor starts: a page below 1 MiB that smp_start_all copies this code to. Real mode, straight
; into long mode through the boot page tables (the only ones that still map that page at its own address), then up to
; the linked kernel. There it goes on only if it is the one that was called: over to the kernel's own tables and into
; the C entry on a stack of its own.
; Position-independent: reaches its data through CS. Interrupts off.
; SDM 3A 8.4 "Multiple-Processor (MP) Initialization", 10.4.6 "Local APIC ID".
%include "arch/x86/offsets.inc"

SELECTOR_CODE   equ 8
SELECTOR_DATA   equ 16

APIC_BASE_EXTD  equ 1 << 10             ; IA32_APIC_BASE: x2APIC mode
APIC_ID         equ 0x20                ; bits 31:24, in xAPIC mode

%define at(label) ((label) - ap_trampoline_start)

global ap_trampoline_start, ap_trampoline_end, ap_trampoline_params

section .rodata
align 16
bits 16
ap_trampoline_start:
        cli
        cld
        mov     ax, cs
        mov     ds, ax
        movzx   ebx, ax
        shl     ebx, 4                  ; linear address of the page
        lea     eax, [ebx + at(gdt)]
        mov     [at(gdt.base)], eax
        lea     eax, [ebx + at(long_mode)]
        mov     [at(target)], eax
        o32 lgdt [at(gdt.pointer)]

        mov     eax, CR4_PAE_BIT
        mov     cr4, eax
        mov     eax, [at(ap_trampoline_params) + AP_PARAMS_BOOT_CR3]
        mov     cr3, eax
        mov     ecx, MSR_EFER
        mov     eax, [at(ap_trampoline_params) + AP_PARAMS_EFER]
        xor     edx, edx
        wrmsr
        mov     eax, CR0_PG_BIT | CR0_PE_BIT | CR0_ET_BIT
        mov     cr0, eax
        jmp     far dword [at(target)]

bits 64
long_mode:
        mov     ax, SELECTOR_DATA
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        xor     eax, eax
        mov     fs, ax
        mov     gs, ax
        lea     rsi, [rel ap_trampoline_params]
        mov     rax, .linked
        jmp     rax

section .text
.linked:
        mov     ecx, MSR_APIC_BASE
        rdmsr
        test    eax, APIC_BASE_EXTD
        jnz     .x2apic
        and     eax, 0xfffff000         ; the boot tables map it at its own address
        mov     eax, [rax + APIC_ID]
        shr     eax, 24
        jmp     .called
.x2apic:
        mov     ecx, MSR_X2APIC_ID
        rdmsr
        mov     eax, eax
.called:
        inc     rax
        xor     ecx, ecx
        lock cmpxchg [rsi + AP_PARAMS_TICKET], rcx
        jne     .stop
        mov     rdi, [rsi + AP_PARAMS_CPU]
        mov     rbx, [rsi + AP_PARAMS_ENTRY]
        mov     rsp, [rsi + AP_PARAMS_STACK_TOP]
        mov     rax, [rsi + AP_PARAMS_CR3]
        mov     cr3, rax
        mov     eax, edi
        mov     rdx, rdi
        shr     rdx, 32
        mov     ecx, MSR_GS_BASE
        wrmsr
        xor     ebp, ebp                ; ends the chain of frames
        call    rbx
.stop:
        cli
        hlt
        jmp     .stop

section .rodata
align 8
gdt:
        dq      0
        dq      0x00af9b000000ffff      ; 64-bit code
        dq      0x00cf93000000ffff      ; data
.pointer:
        dw      gdt.pointer - gdt - 1
.base:  dd      0

align 8
target: dd      0                       ; far pointer to long_mode
        dw      SELECTOR_CODE

align 8
ap_trampoline_params:
        times   AP_PARAMS_BYTES db 0
ap_trampoline_end:
