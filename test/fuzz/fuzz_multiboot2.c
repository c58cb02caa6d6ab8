/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The boot information parser on arbitrary blocks; what it accepts must point into the block and never wrap.
 * links: boot/multiboot2.c
 */
#include <stdlib.h>
#include <string.h>

#include "boot/boot_info.h"

static struct boot_info info;

static void check(const u8 *block, size_t size)
{
    const char *texts[] = {info.command_line, info.loader_name};

    for (u32 i = 0; i < ARRAY_SIZE(texts); i++) {
        const u8 *text = (const u8 *)texts[i];
        if (*text && (text < block || text + strlen(texts[i]) >= block + size))
            abort();
    }
    if (info.module_count > BOOT_MAX_MODULES || info.region_count > BOOT_MAX_REGIONS)
        abort();
    for (u32 i = 0; i < info.module_count; i++) {
        const u8 *line = (const u8 *)info.modules[i].line;
        if (line < block || line + strlen(info.modules[i].line) >= block + size)
            abort();
        if (info.modules[i].start.raw + info.modules[i].size_bytes > 0xffffffffull)
            abort();
    }
    if (info.symbols.entries.raw + info.symbols.entries_bytes > GIB(4) ||
        info.symbols.names.raw + info.symbols.names_bytes > GIB(4))
        abort();
    for (u32 i = 0; i < info.region_count; i++)
        if (info.regions[i].size_bytes == 0 || info.regions[i].size_bytes - 1 > ~0ull - info.regions[i].base)
            abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct refusal why = {""};
    u8 *block = malloc(size ? size : 1);

    memcpy(block, data, size);
    if (size >= 8 && (data[4] & 1)) { /* mostly with the right total size, which mutation would hardly find */
        u32 total = (u32)size;
        memcpy(block, &total, 4);
    }
    enum status status = boot_info_parse(block, size, &info, &why);
    if (status == STATUS_OK)
        check(block, size);
    else if (!why.text[0])
        abort();
    free(block);
    return 0;
}
