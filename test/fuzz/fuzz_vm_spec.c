/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both configuration parsers on arbitrary text; what they accept must be in range, what they refuse must say why.
 * links: kernel/vm/spec.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/memory.h"
#include "kernel/vm/spec.h"

static void check_text(const struct refusal *why)
{
    size_t length = strnlen(why->text, sizeof why->text);

    if (length == 0 || length == sizeof why->text)
        abort();
    for (size_t i = 0; i < length; i++)
        if (why->text[i] < ' ' || why->text[i] > '~' || why->text[i] == '"')
            abort();
}

static void check_spec(const struct vm_spec *spec, const char *line, size_t size)
{
    size_t length = strnlen(spec->name, sizeof spec->name);

    if (length == 0 || length >= sizeof spec->name)
        abort();
    if (spec->mem_bytes < GUEST_MEM_MIN_BYTES || spec->mem_bytes > GUEST_MEM_MAX_BYTES || spec->mem_bytes % FRAME_BYTES)
        abort();
    if (spec->cpus < 1 || spec->cpus > VM_MAX_VCPUS || spec->weight < 1 || spec->weight > 10000 || !spec->affinity)
        abort();
    if (*spec->guest_command_line && (spec->guest_command_line < line || spec->guest_command_line >= line + size))
        abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct refusal why = {""};
    struct vm_spec spec;
    struct host_options options;
    char *line = malloc(size + 1);

    memcpy(line, data, size);
    line[size] = 0;
    if (vm_spec_parse(line, &spec, &why) == STATUS_OK)
        check_spec(&spec, line, size);
    else
        check_text(&why);
    why.text[0] = 0;
    if (host_options_parse(line, &options, &why) != STATUS_OK)
        check_text(&why);
    if (strnlen(options.vmx_disable, sizeof options.vmx_disable) == sizeof options.vmx_disable)
        abort();
    free(line);
    return 0;
}
