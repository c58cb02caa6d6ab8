; SPDX-License-Identifier: BSD-2-Clause
; The glyphs of ' ' to '~', 16 bytes each (tools/font). They are those of GNU Unifont, in GRUB's own font.
global font_glyphs

section .monitor.rodata progbits alloc noexec nowrite align=8
font_glyphs:
        incbin  "drivers/host/font.bin"
