; SPDX-License-Identifier: BSD-2-Clause
; Interrupt latencies in x2APIC mode, and the entry of the second vCPU. The gates' handlers read the clock first, and
; leave what they measure in memory or in EBX.

X2_EOI  equ 0x80b
X2_SELF equ 0x83f

APIC_EOI       equ 0xfee000b0
APIC_ICR       equ 0xfee00300
SHORTHAND_SELF equ 0x40000

bits 32
section .text
global benchapic_self, benchapic_self_interrupt, benchapic_eoi, benchapic_eoi_interrupt
global benchapic_halt_interrupt, benchapic_ipi_interrupt, benchapic_second
global benchapic_came
extern guest_load_gdt, benchapic_second_main

; u32 benchapic_self(u32 vector), u32 benchapic_eoi(u32 vector): sends it to this vCPU, turns interrupts on and waits
; for the handler's figure plus 1 in EBX. (Plus 1: with several CPUs in Bochs the clock moves in steps, and the figure
; may be 0.)
benchapic_self:
    push ebx
    push esi
    xor ebx, ebx
    mov ecx, X2_SELF
    sti
    xor edx, edx
    rdtsc
    mov esi, eax
    mov eax, [esp + 12]
    xor edx, edx
    wrmsr
.wait:
    test ebx, ebx
    jz .wait
    cli
    lea eax, [ebx - 1]
    pop esi
    pop ebx
    ret

benchapic_self_interrupt:
    rdtsc
    sub eax, esi
    lea ebx, [eax + 1]
    call end
    iretd

benchapic_eoi_interrupt:
    mov ecx, X2_EOI
    rdtsc
    mov esi, eax
    xor eax, eax
    xor edx, edx
    wrmsr
    rdtsc
    sub eax, esi
    lea ebx, [eax + 1]
    iretd

; As benchapic_self, but by the registers in memory.
global benchapic_memory, benchapic_memory_interrupt
benchapic_memory:
    push ebx
    push esi
    xor ebx, ebx
    sti
    mov eax, [esp + 12]
    or eax, SHORTHAND_SELF
    mov [APIC_ICR], eax
    jmp benchapic_self.wait

benchapic_memory_interrupt:
    rdtsc
    mov esi, eax
    mov dword [APIC_EOI], 0
    rdtsc
    sub eax, esi
    lea ebx, [eax + 1]
    iretd

end:
    mov ecx, X2_EOI
    xor eax, eax
    xor edx, edx
    wrmsr
    ret

; Keep all registers, put the clock (its low half) into benchapic_came.
benchapic_halt_interrupt:
benchapic_ipi_interrupt:
    push eax
    push edx
    push ecx
    rdtsc
    mov [benchapic_came], eax
    call end
    pop ecx
    pop edx
    pop eax
    iretd

; An NMI ends with its IRET alone.
global benchapic_nmi_interrupt
benchapic_nmi_interrupt:
    push eax
    push edx
    rdtsc
    mov [benchapic_came], eax
    pop edx
    pop eax
    iretd

; Where SIPI begins, copied to the page that its vector names: the clock goes to 0x8800, and to 0x8808 as long as it
; runs.
global benchapic_trampoline, benchapic_trampoline_end
bits 16
benchapic_trampoline:
    rdtsc
    mov [0x8800], eax
    sti
.wait:
    rdtsc
    mov [0x8808], eax
    cmp word [0x8804], 0
    jz .wait
    cli
    hlt
benchapic_trampoline_end:
bits 32

; The second vCPU: flat 32-bit protected mode, no stack.
benchapic_second:
    cld
    mov esp, stack_top
    call guest_load_gdt
    call benchapic_second_main

section .bss
alignb 16
    resb 4096
stack_top:
benchapic_came: resd 1
