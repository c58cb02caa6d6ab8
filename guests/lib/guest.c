/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest library: the way from the loader to guest_main() and back. Reads the boot information of multiboot version 1 or
 * 2 into one form: memory size, command line, modules. Runs once, on the boot vCPU.
 */
#include "guests/lib/guest.h"

#define MULTIBOOT_LOADER_MAGIC  0x2badb002
#define MULTIBOOT2_LOADER_MAGIC 0x36d76289

#define INFO_MEMORY       (1u << 0)
#define INFO_COMMAND_LINE (1u << 2)
#define INFO_MODULES      (1u << 3)

#define TAG_END          0u
#define TAG_COMMAND_LINE 1u
#define TAG_MODULE       3u
#define TAG_MEMORY       4u

/* The part of version 1's information structure that is used here. */
struct multiboot_info {
    u32 flags;
    u32 mem_lower_kib, mem_upper_kib;
    u32 boot_device;
    u32 command_line;
    u32 module_count, modules;
};

struct multiboot_module {
    u32 start, end, string, reserved;
};

/* A tag of version 2; what follows depends on the type. */
struct multiboot2_tag {
    u32 type, bytes;
    u32 first, second; /* module: start and end; memory: KiB below and above 1 MiB */
    char text[];       /* module: its string */
};

void guest_start(u32 magic, const void *info);

static const char *command_line = "";
static u64 upper_memory_bytes;
static struct guest_module modules[GUEST_MAX_MODULES];
static u32 module_count;

static void *pointer(u32 address)
{
    return (void *)(uintptr_t)address;
}

static void add_module(u32 start, u32 end, const char *text)
{
    if (module_count < GUEST_MAX_MODULES)
        modules[module_count++] = (struct guest_module){pointer(start), end - start, text};
}

static void read_information(const struct multiboot_info *info)
{
    if (info->flags & INFO_MEMORY)
        upper_memory_bytes = (u64)info->mem_upper_kib << 10;
    if (info->flags & INFO_COMMAND_LINE)
        command_line = pointer(info->command_line);
    if (!(info->flags & INFO_MODULES))
        return;
    const struct multiboot_module *module = pointer(info->modules);
    for (u32 i = 0; i < info->module_count; i++)
        add_module(module[i].start, module[i].end, pointer(module[i].string));
}

static void read_information2(const u8 *info)
{
    const struct multiboot2_tag *tag = (const void *)(info + 8);
    while (tag->type != TAG_END) {
        if (tag->type == TAG_COMMAND_LINE)
            command_line = (const char *)&tag->first;
        else if (tag->type == TAG_MEMORY)
            upper_memory_bytes = (u64)tag->second << 10;
        else if (tag->type == TAG_MODULE)
            add_module(tag->first, tag->second, tag->text);
        tag = (const void *)((const u8 *)tag + ((tag->bytes + 7) & ~7u));
    }
}

void guest_start(u32 magic, const void *info)
{
    console_init();
    if (magic == MULTIBOOT_LOADER_MAGIC)
        read_information(info);
    else if (magic == MULTIBOOT2_LOADER_MAGIC)
        read_information2(info);
    else
        guest_fail("not started by a multiboot loader");
    guest_exit((u32)guest_main());
}

void guest_exit(u32 status)
{
    if (hypercall_present())
        hypercall_exit(status);
    console_flush();
    if (status)
        cpu_out8(ROOTLET_PORT_RESET, 6);
    cpu_out16(ROOTLET_PORT_PM1A_CONTROL, ROOTLET_PM1A_SLP_EN);
    cpu_out16(ROOTLET_PORT_PM1A_CONTROL_2, ROOTLET_PM1A_SLP_EN);
    cpu_halt_for_good();
}

void guest_fail(const char *text)
{
    print("FAIL: %s\n", text);
    guest_exit(1);
}

const char *guest_command_line(void)
{
    return command_line;
}

const struct guest_module *guest_module(u32 index)
{
    return index < module_count ? &modules[index] : NULL;
}

bool text_begins_with(const char *text, const char *prefix)
{
    while (*prefix && *text == *prefix) {
        text++;
        prefix++;
    }
    return !*prefix;
}

const char *guest_option(const char *key)
{
    const char *text = guest_command_line();
    size_t length = text_length(key);
    bool at_word = true;
    for (; *text; text++) {
        if (at_word && text_begins_with(text, key) && text[length] == '=')
            return text + length + 1;
        at_word = *text == ' ';
    }
    return NULL;
}

u32 guest_option_number(const char *key, u32 otherwise)
{
    const char *text = guest_option(key);
    if (!text)
        return otherwise;
    u32 value = 0;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + (u32)(*text++ - '0');
    return value;
}

u64 guest_upper_memory_bytes(void)
{
    expect(upper_memory_bytes != 0, "the loader reports no memory size");
    return upper_memory_bytes;
}

u32 guest_random(void)
{
    static u32 state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

void guest_wait_for_late_slice(void)
{
    u64 ms = hypercall_tsc_khz(), last = cpu_rdtsc(), now;

    if (!guest_option_number("late", 0))
        return;
    while ((now = cpu_rdtsc()) - last < 5 * ms)
        last = now;
    while (cpu_rdtsc() - now < 9 * ms)
        ;
}
