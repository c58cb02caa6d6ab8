; SPDX-License-Identifier: BSD-2-Clause
; What the boot code leaves to the C code: its page tables, through which application processors start too, where the
; image lies, and when it was entered. Data alone, so that those who read it do not depend on the code that calls
; kernel_main.
global boot_pml4, boot_pdpt, boot_pdpt_kernel, boot_directories, boot_directory_kernel, boot_entry_tsc
global paging_image_offset

section .bss
alignb 4096
boot_pml4:              resb 4096
boot_pdpt:              resb 4096
boot_pdpt_kernel:       resb 4096
boot_directories:       resb 4 * 4096
boot_directory_kernel:  resb 4096

boot_entry_tsc:         resq 1          ; the TSC when GRUB jumped here
paging_image_offset:    resq 1
