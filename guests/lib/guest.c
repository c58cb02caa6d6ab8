/*
 * Guest library: the way from the loader to guest_main() and back. Reads the multiboot (version 1) information: flags,
 * memory sizes, command line. Runs once, on the boot vCPU.
 */
#include "guests/lib/guest.h"

#define MULTIBOOT_LOADER_MAGIC      0x2badb002
#define MULTIBOOT_INFO_MEMORY       (1u << 0)
#define MULTIBOOT_INFO_COMMAND_LINE (1u << 2)

/* The part of the information structure that is used here. */
struct multiboot_info {
    u32 flags;
    u32 mem_lower_kib;
    u32 mem_upper_kib;
    u32 boot_device;
    u32 command_line;
};

static const struct multiboot_info *info;

void guest_start(u32 magic, const struct multiboot_info *loader_info);

void guest_start(u32 magic, const struct multiboot_info *loader_info)
{
    console_init();
    info = loader_info;
    expect(magic == MULTIBOOT_LOADER_MAGIC, "not started by a multiboot loader");
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
    return info->flags & MULTIBOOT_INFO_COMMAND_LINE ? (const char *)(uintptr_t)info->command_line : "";
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
    expect(info->flags & MULTIBOOT_INFO_MEMORY, "the loader reports no memory size");
    return (u64)info->mem_upper_kib << 10;
}

u32 guest_random(void)
{
    static u32 state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}
