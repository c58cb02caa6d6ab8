/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the multiboot loaders build in guest memory, for sound images with arbitrary ELF section headers, modules, lines
 * and memory sizes: the information is read back as a kernel reads it. All that it names lies in RAM, apart from the
 * image and from each other; modules and the contents of sections are those of the files.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/wrong_header.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * kernel/vm/spec.c links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/lib/bits.h"
#include "kernel/load/load.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"
#include "test/fake/must.h"

#define IMAGE_BYTES   8192u
#define HEADERS_AT    0x400u /* section headers, as the input has them; before them the program, behind it contents */
#define CONTENTS_AT   0x1800u
#define SEGMENT_BASE  0x100000u
#define SEGMENT_BYTES 0x300u
#define RSDP_AT       0xe0000u
#define LINE_MAX      5000u
#define RANGES_MAX    64u
#define MB2_HEADER_AT 0x100u

struct input {
    const u8 *data;
    size_t left;
};

static u8 take(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->data++;
}

static u32 take16(struct input *in)
{
    u32 low = take(in);
    return low | (u32)take(in) << 8;
}

static struct guest_memory memories[3], memory; /* of three sizes; the one of this input */
static struct range {
    u64 base, bytes;
} ranges[RANGES_MAX];
static u32 range_count;

/* A range that nothing else may share. */
static void claim(u64 base, u64 bytes)
{
    u8 probe;

    if (bytes == 0)
        return;
    for (u64 at = base; at < base + bytes; at = (at | (FRAME_BYTES - 1)) + 1) {
        const struct guest_region *r = guest_memory_find(&memory, gpa(at));
        MUST(r && r->kind == GUEST_REGION_RAM);
        MUST(guest_memory_read(&memory, gpa(at), &probe, 1) == STATUS_OK);
    }
    for (u32 i = 0; i < range_count; i++)
        MUST(base >= ranges[i].base + ranges[i].bytes || ranges[i].base >= base + bytes);
    MUST(range_count < RANGES_MAX);
    ranges[range_count++] = (struct range){base, bytes};
}

static u32 word(u64 address)
{
    u32 value;
    MUST(guest_memory_read(&memory, gpa(address), &value, 4) == STATUS_OK);
    return value;
}

static u64 word64(u64 address)
{
    return word(address) | (u64)word(address + 4) << 32;
}

static void must_equal(u64 address, const void *expected, u64 bytes)
{
    u8 piece[256];

    for (u64 at = 0; at < bytes; at += sizeof piece) {
        u64 n = bytes - at < sizeof piece ? bytes - at : sizeof piece;
        MUST(guest_memory_read(&memory, gpa(address + at), piece, n) == STATUS_OK);
        MUST(memcmp(piece, (const u8 *)expected + at, n) == 0);
    }
}

/* ---- a sound image, but for its section headers ---- */

static bool wide;

static void make_image(u8 *image, struct input *in, bool two)
{
    u32 header_bytes = wide ? 64 : 40, count = take(in) % 12, stride = header_bytes + take(in) % 3 * 8;
    const struct image_segment segment = {1, 0, SEGMENT_BASE, SEGMENT_BASE, SEGMENT_BYTES, SEGMENT_BYTES};

    memset(image, 0, IMAGE_BYTES);
    for (u32 i = CONTENTS_AT; i < IMAGE_BYTES; i++)
        image[i] = (u8)(i * 7);
    image_put_elf(image, wide, SEGMENT_BASE, &segment, 1);
    image_put(image, wide ? 40 : 32, HEADERS_AT, wide ? 8 : 4);
    image_put(image, wide ? 58 : 46, stride, 2);
    image_put(image, wide ? 60 : 48, count, 2);
    image_put(image, wide ? 62 : 50, take(in), 2);
    if (two)
        image_put_multiboot2(image, MB2_HEADER_AT, 24);
    else
        image_put_multiboot(image, MB2_HEADER_AT, 3);
    if (two)
        image_put(image, MB2_HEADER_AT + 20, 8, 4); /* the end tag */
    for (u32 i = 0; i < count * stride; i++)
        image[HEADERS_AT + i] = take(in);
    /* Every second header is plausible: contents that no segment loads. */
    for (u32 i = 0; i < count; i += 2) {
        u8 *h = image + HEADERS_AT + i * stride;
        memset(h + (wide ? 16 : 12), 0, wide ? 8 : 4);
        image_put(h, wide ? 24 : 16, CONTENTS_AT + take(in) * 8u, wide ? 8 : 4);
        image_put(h, wide ? 32 : 20, take16(in) % 0x900, wide ? 8 : 4);
    }
}

/* The table of section headers in guest memory: `at`, against the file's. */
static void check_sections(const u8 *image, u64 at, u32 count, u32 stride)
{
    MUST(count == image_get(image, wide ? 60 : 48, 2) && stride == image_get(image, wide ? 58 : 46, 2));
    for (u32 i = 0; i < count; i++, at += stride) {
        const u8 *h = image + HEADERS_AT + i * stride;
        u64 address = wide ? word64(at + 16) : word(at + 12);
        u64 own = image_get(h, wide ? 16 : 12, wide ? 8 : 4);
        u64 offset = image_get(h, wide ? 24 : 16, wide ? 8 : 4), bytes = image_get(h, wide ? 32 : 20, wide ? 8 : 4);
        must_equal(at, h, wide ? 16 : 12);
        if (own) {
            MUST(address == own);
            continue;
        }
        if (!address)
            continue;
        MUST(image_get(h, 4, 4) != 8 && offset <= IMAGE_BYTES && bytes <= IMAGE_BYTES - offset);
        claim(address, bytes);
        must_equal(address, image + offset, bytes);
    }
}

static void check_module(const struct load_request *request, u32 index, u64 start, u64 end, u64 line)
{
    const struct image *module = &request->modules[index];

    MUST(start % FRAME_BYTES == 0 && end - start == module->size_bytes);
    claim(start, end - start);
    must_equal(start, module->bytes, module->size_bytes);
    must_equal(line, module->line, strlen(module->line) + 1);
}

static void check_one(const struct load_request *request, const struct start_state *start)
{
    u64 info = start->rbx, map_end = 0;
    u32 flags = word(info);

    MUST(start->rax == 0x2badb002);
    MUST((flags & 0x24d) == 0x24d && word(info + 20) == request->module_count);
    must_equal(word(info + 16), request->boot.line, strlen(request->boot.line) + 1);
    claim(info, word(info + 16) - info); /* as far as it is known to reach at least */
    for (u32 i = 0; i < request->module_count; i++) {
        u64 entry = word(info + 24) + 16 * i;
        check_module(request, i, word(entry), word(entry + 4), word(entry + 8));
    }
    for (u64 at = word(info + 48); at < (u64)word(info + 48) + word(info + 44); at += word(at) + 4) {
        MUST(word64(at + 4) >= map_end && word64(at + 12) != 0);
        map_end = word64(at + 4) + word64(at + 12);
    }
    if (flags & BIT(5))
        check_sections(request->boot.bytes, word(info + 36), word(info + 28), word(info + 32));
}

static void check_two(const struct load_request *request, const struct start_state *start)
{
    u64 info = start->rbx, end = info + word(info), at = info + 8;
    u32 seen = 0, modules = 0;

    MUST(start->rax == 0x36d76289 && word(info + 4) == 0);
    claim(info, end - info);
    while (word(at) != 0) {
        u32 type = word(at), bytes = word(at + 4);
        MUST(at % 8 == 0 && bytes >= 8 && at + bytes <= end && type < 32);
        seen |= 1u << type;
        if (type == 1)
            must_equal(at + 8, request->boot.line, strlen(request->boot.line) + 1);
        if (type == 3)
            check_module(request, modules++, word(at + 8), word(at + 12), at + 16);
        if (type == 9)
            check_sections(request->boot.bytes, at + 20, word(at + 8), word(at + 12));
        if (type == 15)
            must_equal(at + 8, "RSD PTR ", 8);
        at = bits_align_up(at + bytes, 8);
    }
    MUST(word(at + 4) == 8 && at + 8 == end && modules == request->module_count);
    MUST((seen & 0x200156) == 0x200156 && !(seen & 0xc000) == !request->acpi_root.raw);
}

static void allocate(void)
{
    static const u64 sizes[ARRAY_SIZE(memories)] = {MIB(1) + KIB(64), MIB(1) + KIB(132), MIB(2)};
    struct refusal why;

    host_memory_init(MIB(1), MIB(24));
    for (u32 i = 0; i < ARRAY_SIZE(memories); i++) {
        MUST(guest_memory_allocate(&memories[i], sizes[i], &why) == STATUS_OK);
        MUST(guest_memory_write(&memories[i], gpa(RSDP_AT), "RSD PTR ", 8) == STATUS_OK);
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static u8 image[IMAGE_BYTES];
    static char lines[LOAD_MAX_MODULES + 1][LINE_MAX];
    struct input in = {data, size};
    u8 how = take(&in);
    bool two = how & 1;
    struct load_request request = {.vm_name = "f", .kind = two ? IMAGE_MULTIBOOT2 : IMAGE_MULTIBOOT};
    struct refusal why = {""};
    struct start_state start;
    enum image_kind kind;

    wide = how & 2;
    if (!memories[0].region_count)
        allocate();
    memory = memories[(how >> 2 & 3) % ARRAY_SIZE(memories)];
    request.acpi_root = how & 0x10 ? gpa(RSDP_AT) : gpa(0);
    request.module_count = take(&in) % (LOAD_MAX_MODULES + 1);
    for (u32 i = 0; i <= request.module_count; i++) {
        u32 length = take16(&in) % (i < 3 ? LINE_MAX : 40);
        memset(lines[i], 'a' + (int)i % 26, length);
        lines[i][length] = 0;
        if (i)
            request.modules[i - 1] = (struct image){image + take16(&in) % 4096, take16(&in) % 4096, lines[i]};
    }
    make_image(image, &in, two);
    request.boot = (struct image){image, IMAGE_BYTES, lines[0]};
    if (load_image(&request, &memory, &start, &kind, &why) == STATUS_OK) {
        range_count = 0;
        claim(SEGMENT_BASE, SEGMENT_BYTES);
        (two ? check_two : check_one)(&request, &start);
    } else {
        MUST(why.text[0]);
    }
    return 0;
}
