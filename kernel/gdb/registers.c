/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One table for both architectures: what GDB calls a register, its type there, and where struct debug_registers has it.
 * The order of the rows is the numbering, and the description is made of them. Pure.
 */
#include "kernel/gdb/registers.h"
#include "arch/x86/regs.h"
#include "kernel/lib/string.h"

/* A register's type in the description, and its width in bits there. */
enum type { INT32, INT64, CODE32, CODE64, DATA32, DATA64, FLAGS, FLOAT80, FPU_WORD, VECTOR };

static const struct {
    const char *name;
    const char *bits;
    u8 bytes;
} types[] = {
    [INT32] = {"int32",       "32",  4 },
      [INT64] = {"int64",       "64",  8 },
      [CODE32] = {"code_ptr",    "32",  4 },
    [CODE64] = {"code_ptr",    "64",  8 },
      [DATA32] = {"data_ptr",    "32",  4 },
      [DATA64] = {"data_ptr",    "64",  8 },
    [FLAGS] = {"i386_eflags", "32",  4 },
      [FLOAT80] = {"i387_ext",    "80",  10},
      [FPU_WORD] = {"int",         "32",  4 },
    [VECTOR] = {"vec128",      "128", 16},
};

struct row {
    const char *name;
    u8 type;
    u8 bytes; /* that struct debug_registers has; 0: the tag word, which is computed */
    u16 offset;
};

/* clang-format off */
#define GPR(name, type, n)             {name, type, 8, offsetof(struct debug_registers, gpr) + 8 * (n)}
#define FIELD(name, type, field)       {name, type, 8, offsetof(struct debug_registers, field)}
#define FPU(name, type, bytes, offset) {name, type, bytes, offsetof(struct debug_registers, fpu) + (offset)}
/* clang-format on */
#define SEGMENTS                                                                                                       \
    FIELD("cs", INT32, selectors[DEBUG_CS]), FIELD("ss", INT32, selectors[DEBUG_SS]),                                  \
        FIELD("ds", INT32, selectors[DEBUG_DS]), FIELD("es", INT32, selectors[DEBUG_ES]),                              \
        FIELD("fs", INT32, selectors[DEBUG_FS]), FIELD("gs", INT32, selectors[DEBUG_GS])
#define ST(name, n)  FPU(name, FLOAT80, 10, 32 + 16 * (n))
#define XMM(name, n) FPU(name, VECTOR, 16, 160 + 16 * (n))
/* SDM 1, table 10-2 "Format of an FXSAVE Area" */
#define X87                                                                                                            \
    ST("st0", 0), ST("st1", 1), ST("st2", 2), ST("st3", 3), ST("st4", 4), ST("st5", 5), ST("st6", 6), ST("st7", 7),    \
        FPU("fctrl", FPU_WORD, 2, 0), FPU("fstat", FPU_WORD, 2, 2), FPU("ftag", FPU_WORD, 0, 4),                       \
        FPU("fiseg", FPU_WORD, 2, 12), FPU("fioff", FPU_WORD, 4, 8), FPU("foseg", FPU_WORD, 2, 20),                    \
        FPU("fooff", FPU_WORD, 4, 16), FPU("fop", FPU_WORD, 2, 6)
#define XMM_LOW                                                                                                        \
    XMM("xmm0", 0), XMM("xmm1", 1), XMM("xmm2", 2), XMM("xmm3", 3), XMM("xmm4", 4), XMM("xmm5", 5), XMM("xmm6", 6),    \
        XMM("xmm7", 7)
#define XMM_HIGH                                                                                                       \
    XMM("xmm8", 8), XMM("xmm9", 9), XMM("xmm10", 10), XMM("xmm11", 11), XMM("xmm12", 12), XMM("xmm13", 13),            \
        XMM("xmm14", 14), XMM("xmm15", 15)
#define MXCSR FPU("mxcsr", FPU_WORD, 4, 24)

static const struct row rows_32[] = {
    GPR("eax", INT32, 0),
    GPR("ecx", INT32, 1),
    GPR("edx", INT32, 2),
    GPR("ebx", INT32, 3),
    GPR("esp", DATA32, 4),
    GPR("ebp", DATA32, 5),
    GPR("esi", INT32, 6),
    GPR("edi", INT32, 7),
    FIELD("eip", CODE32, rip),
    FIELD("eflags", FLAGS, rflags),
    SEGMENTS,
    X87,
    XMM_LOW,
    MXCSR,
    FIELD("cr0", INT32, cr0),
    FIELD("cr2", INT32, cr2),
    FIELD("cr3", INT32, cr3),
    FIELD("cr4", INT32, cr4),
    FIELD("efer", INT32, efer),
};

static const struct row rows_64[] = {
    GPR("rax", INT64, 0),
    GPR("rbx", INT64, 3),
    GPR("rcx", INT64, 1),
    GPR("rdx", INT64, 2),
    GPR("rsi", INT64, 6),
    GPR("rdi", INT64, 7),
    GPR("rbp", DATA64, 5),
    GPR("rsp", DATA64, 4),
    GPR("r8", INT64, 8),
    GPR("r9", INT64, 9),
    GPR("r10", INT64, 10),
    GPR("r11", INT64, 11),
    GPR("r12", INT64, 12),
    GPR("r13", INT64, 13),
    GPR("r14", INT64, 14),
    GPR("r15", INT64, 15),
    FIELD("rip", CODE64, rip),
    FIELD("eflags", FLAGS, rflags),
    SEGMENTS,
    X87,
    XMM_LOW,
    XMM_HIGH,
    MXCSR,
    FIELD("fs_base", INT64, fs_base),
    FIELD("gs_base", INT64, gs_base),
    FIELD("cr0", INT64, cr0),
    FIELD("cr2", INT64, cr2),
    FIELD("cr3", INT64, cr3),
    FIELD("cr4", INT64, cr4),
    FIELD("efer", INT64, efer),
};

static const struct {
    const struct row *rows;
    u32 count;
    u32 pc, sp, fp;
    const char *name;
} arches[] = {
    [GDB_I386] = {rows_32, ARRAY_SIZE(rows_32), 8,  4, 5, "i386"       },
    [GDB_X86_64] = {rows_64, ARRAY_SIZE(rows_64), 16, 7, 6, "i386:x86-64"},
};

/* GDB looks for each register in the feature that it belongs to; the last is ours. A feature begins with its first
 * register. */
static const struct {
    const char *first_32;
    const char *first_64;
    const char *text; /* what comes before the registers */
} features[] = {
    {"eax",  "rax",
     "<feature name=\"org.gnu.gdb.i386.core\"><flags id=\"i386_eflags\" size=\"4\">"
     "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
     "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
     "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
     "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
     "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
     "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
     "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
     "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
     "<field name=\"ID\" start=\"21\" end=\"21\"/></flags>"                     },
    {"xmm0", "xmm0",
     "</feature><feature name=\"org.gnu.gdb.i386.sse\">"
     "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
     "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
     "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
     "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
     "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
     "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
     "<field name=\"uint128\" type=\"uint128\"/></union>"                       },
    {"",     "fs_base", "</feature><feature name=\"org.gnu.gdb.i386.segments\">"},
    {"cr0",  "cr0",     "</feature><feature name=\"org.rootlet.gdb.system\">"   },
};

static const struct row *row_of(enum gdb_arch arch, u32 number)
{
    return number < arches[arch].count ? &arches[arch].rows[number] : NULL;
}

u32 gdb_register_count(enum gdb_arch arch)
{
    return arches[arch].count;
}

u32 gdb_register_of_pc(enum gdb_arch arch)
{
    return arches[arch].pc;
}

u32 gdb_register_of_sp(enum gdb_arch arch)
{
    return arches[arch].sp;
}

u32 gdb_register_of_fp(enum gdb_arch arch)
{
    return arches[arch].fp;
}

/* FXSAVE has a bit for each register that is in use, GDB wants FSAVE's two: 3 is empty, 0 valid (zero and special, 1
 * and 2, are left to GDB to see). */
static u16 full_tag_word(u8 in_use)
{
    u16 tags = 0;

    for (unsigned i = 0; i < 8; i++)
        tags = (u16)(tags | (in_use >> i & 1 ? 0 : 3u << 2 * i));
    return tags;
}

size_t gdb_register_read(enum gdb_arch arch, u32 number, const struct debug_registers *registers,
                         u8 out[GDB_REGISTER_BYTES])
{
    const struct row *row = row_of(arch, number);

    if (!row)
        return 0;
    const u8 *from = (const u8 *)registers + row->offset;
    size_t wide = types[row->type].bytes;
    memset(out, 0, GDB_REGISTER_BYTES);
    if (row->bytes) {
        memcpy(out, from, row->bytes < wide ? row->bytes : wide);
    } else {
        u16 tags = full_tag_word(*from);
        memcpy(out, &tags, sizeof tags);
    }
    return wide;
}

/* What a debugger may set without the guest's leave: neither privilege nor mode, and no trap of its own. */
#define RFLAGS_WRITABLE                                                                                                \
    (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_IF | RFLAGS_DF | RFLAGS_OF | RFLAGS_RF |       \
     RFLAGS_AC | BIT(14) | BIT(21)) /* NT, ID */

static bool write_rip(struct debug_registers *registers, u64 value)
{
    if (registers->code64 && (u64)((s64)(value << 16) >> 16) != value)
        return false;
    registers->rip = registers->code64 ? value : (u32)value;
    return true;
}

bool gdb_register_write(enum gdb_arch arch, u32 number, struct debug_registers *registers, const u8 *in)
{
    const struct row *row = row_of(arch, number);
    u64 value = 0;

    if (!row)
        return false;
    size_t wide = types[row->type].bytes;
    u8 *field = (u8 *)registers + row->offset;
    if (row->type == FLOAT80 || row->type == VECTOR) {
        memcpy(field, in, wide);
        registers->changed_f = true;
        return true;
    }
    memcpy(&value, in, wide);
    if (row->offset == offsetof(struct debug_registers, rip)) {
        if (!write_rip(registers, value))
            return false;
    } else if (row->type == FLAGS) {
        registers->rflags = (registers->rflags & ~RFLAGS_WRITABLE) | (value & RFLAGS_WRITABLE);
    } else if (row->offset < offsetof(struct debug_registers, rip)) {
        memcpy(field, &value, sizeof value);
    } else {
        return false;
    }
    registers->changed = true;
    return true;
}

/* ---- the description ---- */

/* A long text of which only a part is wanted. */
struct window {
    u64 skip; /* bytes that are still before the part */
    u8 *out;
    size_t size, used;
};

static void put(struct window *window, const char *text)
{
    size_t length = string_length(text);

    if (window->skip >= length) {
        window->skip -= length;
        return;
    }
    text += window->skip;
    length -= (size_t)window->skip;
    window->skip = 0;
    if (length > window->size - window->used)
        length = window->size - window->used;
    memcpy(window->out + window->used, text, length);
    window->used += length;
}

static void put_feature_of(struct window *window, enum gdb_arch arch, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++)
        if (string_equal(name, arch == GDB_I386 ? features[i].first_32 : features[i].first_64))
            put(window, features[i].text);
}

size_t gdb_register_description(enum gdb_arch arch, u64 offset, u8 *out, size_t size)
{
    struct window window = {offset, out, size, 0};

    put(&window, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target><architecture>");
    put(&window, arches[arch].name);
    put(&window, "</architecture>");
    for (u32 i = 0; i < arches[arch].count; i++) {
        const struct row *row = &arches[arch].rows[i];
        put_feature_of(&window, arch, row->name);
        put(&window, "<reg name=\"");
        put(&window, row->name);
        put(&window, "\" bitsize=\"");
        put(&window, types[row->type].bits);
        put(&window, "\" type=\"");
        put(&window, types[row->type].name);
        put(&window, row->type == FPU_WORD ? "\" group=\"float\"/>" : "\"/>");
    }
    put(&window, "</feature></target>");
    return window.used;
}
