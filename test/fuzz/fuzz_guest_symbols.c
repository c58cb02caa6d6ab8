/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lookup of a guest's function in arbitrary bytes: the first 8 are the address, the rest is the image.
 * links: kernel/vm/symbols.c kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c
 * kernel/vm/layer.c test/fake/host_memory.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/symbols.h"
#include "kernel/lib/bytes.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct guest_symbol symbol;
    u32 steps = 0;

    if (size < 8)
        return 0;
    u8 *bytes = malloc(size - 8 ? size - 8 : 1);
    struct image image = {bytes, size - 8, ""};
    memcpy(bytes, data + 8, size - 8);
    u64 address = bytes_u64(data);
    bool found = guest_symbols_find(&image, address, &steps, &symbol);
    if (steps > GUEST_SYMBOLS_STEPS + 32)
        abort();
    if (found) {
        if (symbol.offset > address || !symbol.name[0] ||
            strnlen(symbol.name, GUEST_SYMBOL_BYTES) == GUEST_SYMBOL_BYTES)
            abort();
        for (const char *at = symbol.name; *at; at++)
            if (*at <= ' ' || *at > '~' || *at == '"' || *at == '=')
                abort();
    }
    free(bytes);
    return 0;
}
