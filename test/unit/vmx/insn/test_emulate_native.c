/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The executor against the CPU that the test runs on: random instructions of every supported kind, with random
 * registers, flags and memory, run natively (from a page that is writable and executable) and through decoder and
 * executor; registers, flags and memory must come out the same. 16- and 32-bit code, faults and segment checks are
 * tested by hand.
 *
 * links: vmx/insn/decode.c vmx/insn/emulate.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/mman.h>

#include "arch/x86/regs.h"
#include "vmx/insn/emulate.h"

/* ---- running an instruction natively ---- */

struct machine {
    u64 gpr[16];
    u64 rflags;
};

/* Position-independent code with its own data: loads a struct machine, runs the 16-byte slot, stores the machine. */
extern u8 native_begin[], native_slot[], native_machine[], native_end[];
asm(".pushsection .rodata\n"
    "native_begin:\n"
    "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "  mov %rsp, native_stack(%rip)\n"
    "  push 16*8+native_machine(%rip); popf\n"
    "  mov 0*8+native_machine(%rip), %rax\n"
    "  mov 1*8+native_machine(%rip), %rcx\n"
    "  mov 2*8+native_machine(%rip), %rdx\n"
    "  mov 3*8+native_machine(%rip), %rbx\n"
    "  mov 4*8+native_machine(%rip), %rsp\n"
    "  mov 5*8+native_machine(%rip), %rbp\n"
    "  mov 6*8+native_machine(%rip), %rsi\n"
    "  mov 7*8+native_machine(%rip), %rdi\n"
    "  mov 8*8+native_machine(%rip), %r8\n"
    "  mov 9*8+native_machine(%rip), %r9\n"
    "  mov 10*8+native_machine(%rip), %r10\n"
    "  mov 11*8+native_machine(%rip), %r11\n"
    "  mov 12*8+native_machine(%rip), %r12\n"
    "  mov 13*8+native_machine(%rip), %r13\n"
    "  mov 14*8+native_machine(%rip), %r14\n"
    "  mov 15*8+native_machine(%rip), %r15\n"
    "native_slot: .fill 16, 1, 0x90\n"
    "  mov %rax, 0*8+native_machine(%rip)\n"
    "  mov %rcx, 1*8+native_machine(%rip)\n"
    "  mov %rdx, 2*8+native_machine(%rip)\n"
    "  mov %rbx, 3*8+native_machine(%rip)\n"
    "  mov %rsp, 4*8+native_machine(%rip)\n"
    "  mov %rbp, 5*8+native_machine(%rip)\n"
    "  mov %rsi, 6*8+native_machine(%rip)\n"
    "  mov %rdi, 7*8+native_machine(%rip)\n"
    "  mov %r8, 8*8+native_machine(%rip)\n"
    "  mov %r9, 9*8+native_machine(%rip)\n"
    "  mov %r10, 10*8+native_machine(%rip)\n"
    "  mov %r11, 11*8+native_machine(%rip)\n"
    "  mov %r12, 12*8+native_machine(%rip)\n"
    "  mov %r13, 13*8+native_machine(%rip)\n"
    "  mov %r14, 14*8+native_machine(%rip)\n"
    "  mov %r15, 15*8+native_machine(%rip)\n"
    "  mov native_stack(%rip), %rsp\n"
    "  pushf; pop 16*8+native_machine(%rip)\n"
    "  cld\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "  ret\n"
    ".balign 64\n"
    "native_machine: .fill 17, 8, 0\n"
    "native_stack: .quad 0\n"
    "native_end:\n"
    ".popsection\n");

/* void native_with_vectors(void *code, u64 vectors[16][4]): the same with all YMM registers loaded and stored. */
void native_with_vectors(void *code, u64 vectors[16][4]);
asm(".pushsection .text\n"
    "native_with_vectors:\n"
    "  push %rbx\n"
    "  mov %rsi, %rbx\n"
    ".macro each from, to\n"
    "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
    "  .if \\from\n"
    "    vmovups 32*\\n(%rbx), %ymm\\n\n"
    "  .else\n"
    "    vmovups %ymm\\n, 32*\\n(%rbx)\n"
    "  .endif\n"
    "  .endr\n"
    ".endm\n"
    "  each 1\n"
    "  call *%rdi\n"
    "  each 0\n"
    "  vzeroupper\n"
    "  pop %rbx\n"
    "  ret\n"
    ".popsection\n");

#define ARENA_BYTES  1024u
#define SLOT_BYTES   16u
#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

static u8 *code;               /* the copy of native_begin..native_end; below 2 GiB */
static u8 *arena;              /* what native instructions access; below 2 GiB */
static u8 shadow[ARENA_BYTES]; /* what emulated instructions access instead */

/* Only where a test uses them, which sets the count to 16. */
static u32 vectors_count;
static u64 native_vectors[16][4], emulated_vectors[16][4];

static u8 *map_low(size_t bytes, int protection)
{
    void *at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    assert_true(at != MAP_FAILED);
    return at;
}

static int set_up(void **state)
{
    (void)state;
    code = map_low(4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(code, native_begin, (size_t)(native_end - native_begin));
    arena = (u8 *)map_low(3 * 4096, PROT_READ | PROT_WRITE) + 4096;
    return 0;
}

static u64 slot_address(void)
{
    return (u64)(uintptr_t)(code + (native_slot - native_begin));
}

static void run_natively(const u8 *bytes, size_t count, struct machine *m)
{
    u8 *slot = code + (native_slot - native_begin);
    u8 *machine = code + (native_machine - native_begin);
    memset(slot, 0x90, 16);
    memcpy(slot, bytes, count);
    memcpy(machine, m, sizeof *m);
    if (vectors_count)
        native_with_vectors(code, native_vectors);
    else
        ((void (*)(void))(void *)code)();
    memcpy(m, machine, sizeof *m);
}

/* ---- running it through decoder and executor ---- */

static u8 *shadow_at(u64 linear, u8 bytes)
{
    u64 offset = linear - (u64)(uintptr_t)arena;
    assert_true(offset <= ARENA_BYTES - bytes);
    return shadow + offset;
}

static enum emulate_outcome read_shadow(void *context, u64 linear, u8 bytes, u64 *value)
{
    (void)context;
    memcpy(value, shadow_at(linear, bytes), bytes);
    return EMULATE_OK;
}

static enum emulate_outcome write_shadow(void *context, u64 linear, u8 bytes, u64 value)
{
    (void)context;
    memcpy(shadow_at(linear, bytes), &value, bytes);
    return EMULATE_OK;
}

static enum emulate_outcome check_shadow(void *context, enum decode_segment segment, u64 offset, u8 bytes, bool write)
{
    (void)context;
    (void)segment;
    (void)write;
    (void)shadow_at(offset, bytes);
    return EMULATE_OK;
}

static enum emulate_outcome check_branch(void *context, u64 rip)
{
    (void)context;
    (void)rip;
    return EMULATE_OK;
}

static enum emulate_outcome check_vector(void *context, bool vex)
{
    (void)context;
    (void)vex;
    return EMULATE_OK;
}

static void read_vector(void *context, u8 index, bool vex, u64 value[4])
{
    (void)context;
    memcpy(value, emulated_vectors[index], vex ? 32 : 16);
}

static void write_vector(void *context, u8 index, bool vex, const u64 value[4])
{
    (void)context;
    memcpy(emulated_vectors[index], value, vex ? 32 : 16);
}

static bool has_tzcnt(void *context)
{
    (void)context;
    return __builtin_cpu_supports("bmi");
}

static bool has_lzcnt(void *context)
{
    (void)context;
    return __builtin_cpu_supports("lzcnt");
}

/* No segment takes part in what is generated here. */
static const struct emulate_calls shadow_calls = {.read = read_shadow,
                                                  .write = write_shadow,
                                                  .check = check_shadow,
                                                  .has_tzcnt = has_tzcnt,
                                                  .has_lzcnt = has_lzcnt,
                                                  .check_branch = check_branch,
                                                  .check_vector = check_vector,
                                                  .read_vector = read_vector,
                                                  .write_vector = write_vector};

/* Runs until RIP moves on. */
static void run_emulated(const u8 *bytes, size_t count, struct machine *m)
{
    struct decode_insn insn;
    u64 target;
    struct emulate_env env = {&shadow_calls, NULL, m->gpr, &m->rflags, slot_address(), &target};
    u8 advance = 0;

    assert_int_equal(decode_instruction(bytes, count, DECODE_64, &insn), STATUS_OK);
    assert_int_equal(insn.length, count);
    if (insn.operation == DECODE_CALL || insn.operation == DECODE_JMP || insn.operation == DECODE_RET) {
        assert_int_equal(emulate_instruction(&env, &insn, &advance), EMULATE_JUMP);
        assert_int_equal(target, slot_address() + SLOT_BYTES); /* there the native code goes on */
        return;
    }
    while (!advance)
        assert_int_equal(emulate_instruction(&env, &insn, &advance), EMULATE_OK);
    assert_int_equal(advance, count);
}

/* ---- generating instructions ---- */

static u64 seed = 0x9e3779b97f4a7c15;

static u64 next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1d;
}

static u32 below(u32 bound)
{
    return (u32)(next_random() >> 32) % bound;
}

/* Operands at the edges are where flags go wrong. */
static u64 random_operand(void)
{
    static const u64 edges[] = {0,
                                1,
                                0x7f,
                                0x80,
                                0xff,
                                0x7fff,
                                0x8000,
                                0xffff,
                                0x7fffffff,
                                0x80000000,
                                0xffffffff,
                                0x7fffffffffffffff,
                                0x8000000000000000,
                                ~0ull,
                                0x0f,
                                0x10};
    u64 value = next_random();
    return below(2) ? value : edges[below(ARRAY_SIZE(edges))] + (below(4) ? 0 : value & 0x8080808080808080);
}

struct sample {
    u8 bytes[16];
    u32 count;
    struct machine machine;
    u64 undefined; /* flags that the CPU may set at will */
};

static void put(struct sample *s, u64 value, unsigned bytes)
{
    memcpy(s->bytes + s->count, &value, bytes);
    s->count += bytes;
}

static void random_machine(struct sample *s)
{
    s->count = 0;
    s->undefined = 0;
    for (unsigned i = 0; i < 16; i++)
        s->machine.gpr[i] = random_operand();
    s->machine.rflags = RFLAGS_ONE | RFLAGS_IF | (next_random() & STATUS_FLAGS);
    for (unsigned i = 0; i < ARENA_BYTES; i += 8) {
        u64 value = random_operand();
        memcpy(arena + i, &value, 8);
    }
}

/* ModRM, SIB and displacement of a random address form. */
struct form {
    u8 rex;
    u8 modrm;
    u8 sib;
    bool has_sib;
    u8 displacement_bytes;
    u64 displacement;
    bool rip_relative;
};

/*
 * Chooses a form and sets the registers that it names so that the operand lies at `target`. `keep`: bits of
 * registers that must keep their values.
 */
static struct form random_form(struct sample *s, u64 target, u32 keep, bool address_32)
{
    struct form f = {0};
    u64 *gpr = s->machine.gpr;
    u32 mod = below(3);
    u32 base = below(16), index;
    u64 rest = target;

    while (keep >> base & 1)
        base = below(16);
    do
        index = below(16);
    while (keep >> index & 1 || index == base);
    f.displacement_bytes = mod == 2 ? 4 : (u8)mod;
    f.displacement = mod ? (u64)(mod == 1 ? (s64)(s8)next_random() : (s64)(s32)next_random()) : 0;
    if (below(8) == 0 && address_32) { /* SIB without a base, REX.B set or not */
        mod = 0;
        base = below(2) ? 5 : 13;
        f.displacement_bytes = 4;
        f.displacement = index == 4 ? target : target - gpr[index] * 4;
        f.has_sib = true;
        f.sib = (u8)(0x80 | (index & 7) << 3 | 5);
        f.rex = (u8)((index >> 3) << 1 | base >> 3);
        f.modrm = 4;
        return f;
    }
    if (below(8) == 0) { /* RIP-relative: the displacement is filled in when the length is known */
        f.rip_relative = true;
        f.displacement_bytes = 4;
        f.displacement = target;
        f.modrm = 5;
        return f;
    }
    if (mod == 0 && (base & 7) == 5) { /* would mean no base */
        mod = 1;
        f.displacement_bytes = 1;
    }
    rest -= f.displacement;
    f.has_sib = (base & 7) == 4 || below(2);
    if (f.has_sib) {
        u32 scale = below(4);
        f.sib = (u8)(scale << 6 | (index & 7) << 3 | (base & 7));
        f.rex |= (u8)((index >> 3) << 1);
        if (index != 4)
            rest -= gpr[index] << scale;
    }
    if (address_32) /* what lies above 32 bits must not matter */
        rest = (u32)rest | next_random() << 32;
    gpr[base] = rest;
    f.rex |= (u8)(base >> 3);
    f.modrm = (u8)(mod << 6 | (f.has_sib ? 4 : base & 7));
    return f;
}

static void check_sample(struct sample *s, const char *what);

/* What a row of the instruction list needs beside its opcode. */
enum shape {
    SHAPE_REGISTER = 1,  /* ModRM.reg is a register; else it is `extension` */
    SHAPE_BYTE = 2,      /* one-byte operand */
    SHAPE_IMMEDIATE = 4, /* as wide as the operand */
    SHAPE_IMMEDIATE_8 = 8,
    SHAPE_LOCK = 16,
    SHAPE_BIT_OFFSET = 32,
    SHAPE_AF = 64,    /* AF is undefined */
    SHAPE_BITS = 128, /* OF, SF, AF and PF are undefined */
    SHAPE_64 = 256,   /* REX.W always */
    SHAPE_F3 = 512,
    SHAPE_SHIFT = 1024,    /* by CL, by the immediate, or by 1: flags depend on the count */
    SHAPE_PRODUCT = 2048,  /* SF, ZF, AF and PF are undefined */
    SHAPE_QUOTIENT = 4096, /* all flags are undefined, and the quotient must fit */
    SHAPE_SIGNED = 8192,   /* of these */
    SHAPE_PAIR = 16384,    /* of registers: aligned, and sometimes equal to RDX:RAX */
    SHAPE_ZF = 32768,      /* alone is defined, and the operand is not 0 */
    SHAPE_CL = 65536       /* of SHAPE_SHIFT: the count is there */
};

struct kind {
    const char *name;
    u16 opcode;
    u8 extension;
    u32 shape;
};

static const u32 no_register;

static __int128 extend(u64 value, unsigned width, bool is_signed)
{
    u64 high = value << (64 - 8 * width);
    return is_signed ? (__int128)((s64)high >> (64 - 8 * width)) : (__int128)(high >> (64 - 8 * width));
}

/* Puts a dividend into AX or rDX:rAX whose quotient by the operand at `target` fits; the operand becomes no zero. */
static void make_dividend(struct sample *s, bool is_signed, u64 target, unsigned width)
{
    u8 *operand = (u8 *)(uintptr_t)target;
    u64 divisor = 0;

    memcpy(&divisor, operand, width);
    if (divisor == 0)
        operand[0] = (u8)(divisor = 3);
    __int128 a = extend(divisor, width, is_signed);
    __int128 b = extend(random_operand(), width, is_signed);
    unsigned __int128 dividend = (unsigned __int128)a * (unsigned __int128)b;
    u64 rest = next_random() % (u64)(a < 0 ? -a : a);
    dividend += (a < 0) != (b < 0) && b != 0 ? 0 - (unsigned __int128)rest : rest;
    memcpy(&s->machine.gpr[0], &dividend, width == 1 ? 2 : width);
    dividend >>= 8 * width;
    if (width > 1)
        memcpy(&s->machine.gpr[2], &dividend, width);
}

/* Makes the operand differ from the accumulator, or not, and the memory aligned: the target that is to be used. */
static u64 make_pair(struct sample *s, u64 target, unsigned width)
{
    target &= ~(u64)(2 * width - 1);
    if (below(2)) {
        memcpy((u8 *)(uintptr_t)target, &s->machine.gpr[0], width);
        memcpy((u8 *)(uintptr_t)target + width, &s->machine.gpr[2], width);
    }
    return target;
}

static u64 undefined_of_shift(bool rotates, u64 count)
{
    if (count == 0)
        return 0;
    return (count == 1 ? 0 : RFLAGS_OF) | (rotates ? 0 : RFLAGS_AF);
}

/* Emits prefixes, REX, opcode, address form and immediate for one instruction of this kind, and runs it both ways. */
static void run_kind(const struct kind *k)
{
    struct sample s;
    random_machine(&s);
    bool address_32 = below(6) == 0;
    bool narrow = below(4) == 0;
    bool wide = k->shape & SHAPE_64 || below(3) == 0;
    bool any_rex = below(2) || wide;
    u32 reg = k->shape & SHAPE_REGISTER ? below(any_rex ? 16 : 8) : k->extension;
    u32 keep = no_register;
    unsigned width = k->shape & SHAPE_BYTE ? 1 : wide ? 8 : narrow ? 2 : 4;
    u64 target = (u64)(uintptr_t)arena + 256 + below(512);

    if (k->shape & SHAPE_64)
        narrow = false;
    if (k->shape & SHAPE_BIT_OFFSET) { /* up to 200 bytes to either side */
        s64 bit = (s64)below(3200) - 1600;
        u64 garbage = width == 8 ? 0 : next_random() << (8 * width);
        s.machine.gpr[reg] = (width == 8 ? (u64)bit : (u64)bit & ((1ull << (8 * width)) - 1)) | garbage;
        keep = 1u << reg;
    }
    if ((k->opcode & ~1) == 0x1b0 && below(2)) { /* CMPXCHG: let comparisons succeed */
        memcpy(&s.machine.gpr[0], (u8 *)(uintptr_t)target, width);
        keep = 1u << 0;
    }
    u64 count = k->opcode == 0xd0 || k->opcode == 0xd1 ? 1 : next_random();
    if (k->shape & SHAPE_SHIFT) {
        bool rotates = k->opcode < 0x100 && k->extension < 4;
        if (!rotates && count != 1) /* where the SDM defines CF, and what SHLD and SHRD give */
            count = (count & ~63ull) | below(8 * width);
        if (k->shape & SHAPE_CL)
            s.machine.gpr[1] = count;
        keep = 1u << 1;
        s.undefined = undefined_of_shift(rotates, count & (width == 8 ? 63 : 31));
    }
    if (k->shape & SHAPE_QUOTIENT) {
        make_dividend(&s, k->shape & SHAPE_SIGNED, target, width);
        s.undefined = STATUS_FLAGS;
        keep = 1u << 0 | 1u << 2;
    }
    if (k->shape & SHAPE_PAIR) {
        narrow = false;
        width = wide ? 8 : 4;
        target = make_pair(&s, target, width);
        keep = 1u << 0 | 1u << 2;
    }
    if (k->shape & SHAPE_ZF)
        memset((u8 *)(uintptr_t)target, 0x80 >> below(8), 1);
    if (address_32)
        put(&s, 0x67, 1);
    if (narrow)
        put(&s, 0x66, 1);
    if (k->shape & SHAPE_F3)
        put(&s, 0xf3, 1);
    if (k->shape & SHAPE_LOCK && below(4) == 0)
        put(&s, 0xf0, 1);
    struct form f = random_form(&s, target, keep, address_32);
    u8 rex = (u8)(f.rex | (wide ? 8 : 0) | (k->shape & SHAPE_REGISTER && reg > 7 ? 4 : 0));
    if (rex || any_rex)
        put(&s, 0x40 | rex, 1);
    if (k->opcode >= 0x100)
        put(&s, 0x0f, 1);
    put(&s, k->opcode & 0xff, 1);
    put(&s, f.modrm | (reg & 7) << 3, 1);
    if (f.has_sib)
        put(&s, f.sib, 1);
    unsigned immediate = k->shape & SHAPE_IMMEDIATE_8 ? 1 : k->shape & SHAPE_IMMEDIATE ? (width < 4 ? width : 4) : 0;
    if (f.rip_relative)
        f.displacement -= slot_address() + s.count + 4 + immediate;
    put(&s, f.displacement, f.displacement_bytes);
    put(&s, k->shape & SHAPE_SHIFT ? count : random_operand(), immediate);
    if (k->shape & SHAPE_PRODUCT)
        s.undefined = RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
    if (k->shape & SHAPE_ZF)
        s.undefined = STATUS_FLAGS & ~RFLAGS_ZF;
    if (k->shape & SHAPE_AF)
        s.undefined = RFLAGS_AF;
    if (k->shape & SHAPE_BITS)
        s.undefined = RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    check_sample(&s, k->name);
}

static void fail_sample(const struct sample *s, const char *what, const char *how, u64 native, u64 emulated)
{
    char text[3 * 16 + 1] = "";
    for (unsigned i = 0; i < s->count; i++)
        snprintf(text + 3 * i, 4, "%02x ", s->bytes[i]);
    fail_msg("%s: %s: %s: CPU %#lx, executor %#lx", what, text, how, native, emulated);
}

static void check_sample(struct sample *s, const char *what)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    struct machine native = s->machine, emulated = s->machine;

    memcpy(shadow, arena, ARENA_BYTES);
    run_emulated(s->bytes, s->count, &emulated);
    run_natively(s->bytes, s->count, &native);
    for (unsigned i = 0; i < 16; i++)
        if (native.gpr[i] != emulated.gpr[i])
            fail_sample(s, what, names[i], native.gpr[i], emulated.gpr[i]);
    if ((native.rflags ^ emulated.rflags) & STATUS_FLAGS & ~s->undefined)
        fail_sample(s, what, "flags", native.rflags & STATUS_FLAGS, emulated.rflags & STATUS_FLAGS);
    if ((emulated.rflags ^ s->machine.rflags) & (~STATUS_FLAGS | s->undefined))
        fail_sample(s, what, "flags that must stay", s->machine.rflags, emulated.rflags);
    for (unsigned i = 0; i < ARENA_BYTES; i++)
        if (arena[i] != shadow[i])
            fail_sample(s, what, "memory", arena[i], shadow[i]);
    for (unsigned i = 0; i < vectors_count * 4; i++)
        if (native_vectors[i / 4][i % 4] != emulated_vectors[i / 4][i % 4])
            fail_sample(s, what, "vector", native_vectors[i / 4][i % 4], emulated_vectors[i / 4][i % 4]);
}

/* clang-format off */
#define K(name, opcode, extension, shape) {name, opcode, extension, shape}
/* clang-format on */

static const struct kind kinds[] = {
    K("add", 0x0, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK),
    K("add", 0x1, 0, SHAPE_REGISTER | SHAPE_LOCK),
    K("add", 0x2, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("add", 0x3, 0, SHAPE_REGISTER),
    K("add", 0x80, 0, SHAPE_BYTE | SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("add", 0x81, 0, SHAPE_IMMEDIATE | SHAPE_LOCK),
    K("add", 0x83, 0, SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("or", 0x8, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK | SHAPE_AF),
    K("or", 0x9, 0, SHAPE_REGISTER | SHAPE_LOCK | SHAPE_AF),
    K("or", 0xa, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_AF),
    K("or", 0xb, 0, SHAPE_REGISTER | SHAPE_AF),
    K("or", 0x80, 1, SHAPE_BYTE | SHAPE_IMMEDIATE_8 | SHAPE_LOCK | SHAPE_AF),
    K("or", 0x81, 1, SHAPE_IMMEDIATE | SHAPE_LOCK | SHAPE_AF),
    K("or", 0x83, 1, SHAPE_IMMEDIATE_8 | SHAPE_LOCK | SHAPE_AF),
    K("adc", 0x10, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK),
    K("adc", 0x11, 0, SHAPE_REGISTER | SHAPE_LOCK),
    K("adc", 0x12, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("adc", 0x13, 0, SHAPE_REGISTER),
    K("adc", 0x80, 2, SHAPE_BYTE | SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("adc", 0x81, 2, SHAPE_IMMEDIATE | SHAPE_LOCK),
    K("adc", 0x83, 2, SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("sbb", 0x18, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK),
    K("sbb", 0x19, 0, SHAPE_REGISTER | SHAPE_LOCK),
    K("sbb", 0x1a, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("sbb", 0x1b, 0, SHAPE_REGISTER),
    K("sbb", 0x80, 3, SHAPE_BYTE | SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("sbb", 0x81, 3, SHAPE_IMMEDIATE | SHAPE_LOCK),
    K("sbb", 0x83, 3, SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("and", 0x20, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK | SHAPE_AF),
    K("and", 0x21, 0, SHAPE_REGISTER | SHAPE_LOCK | SHAPE_AF),
    K("and", 0x22, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_AF),
    K("and", 0x23, 0, SHAPE_REGISTER | SHAPE_AF),
    K("and", 0x80, 4, SHAPE_BYTE | SHAPE_IMMEDIATE_8 | SHAPE_LOCK | SHAPE_AF),
    K("and", 0x81, 4, SHAPE_IMMEDIATE | SHAPE_LOCK | SHAPE_AF),
    K("and", 0x83, 4, SHAPE_IMMEDIATE_8 | SHAPE_LOCK | SHAPE_AF),
    K("sub", 0x28, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK),
    K("sub", 0x29, 0, SHAPE_REGISTER | SHAPE_LOCK),
    K("sub", 0x2a, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("sub", 0x2b, 0, SHAPE_REGISTER),
    K("sub", 0x80, 5, SHAPE_BYTE | SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("sub", 0x81, 5, SHAPE_IMMEDIATE | SHAPE_LOCK),
    K("sub", 0x83, 5, SHAPE_IMMEDIATE_8 | SHAPE_LOCK),
    K("xor", 0x30, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK | SHAPE_AF),
    K("xor", 0x31, 0, SHAPE_REGISTER | SHAPE_LOCK | SHAPE_AF),
    K("xor", 0x32, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_AF),
    K("xor", 0x33, 0, SHAPE_REGISTER | SHAPE_AF),
    K("xor", 0x80, 6, SHAPE_BYTE | SHAPE_IMMEDIATE_8 | SHAPE_LOCK | SHAPE_AF),
    K("xor", 0x81, 6, SHAPE_IMMEDIATE | SHAPE_LOCK | SHAPE_AF),
    K("xor", 0x83, 6, SHAPE_IMMEDIATE_8 | SHAPE_LOCK | SHAPE_AF),
    K("cmp", 0x38, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("cmp", 0x39, 0, SHAPE_REGISTER),
    K("cmp", 0x3a, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("cmp", 0x3b, 0, SHAPE_REGISTER),
    K("cmp", 0x80, 7, SHAPE_BYTE | SHAPE_IMMEDIATE_8),
    K("cmp", 0x81, 7, SHAPE_IMMEDIATE),
    K("cmp", 0x83, 7, SHAPE_IMMEDIATE_8),
    K("test", 0x84, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_AF),
    K("test", 0x85, 0, SHAPE_REGISTER | SHAPE_AF),
    K("xchg", 0x86, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK),
    K("xchg", 0x87, 0, SHAPE_REGISTER | SHAPE_LOCK),
    K("mov", 0x88, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("mov", 0x89, 0, SHAPE_REGISTER),
    K("mov", 0x8a, 0, SHAPE_REGISTER | SHAPE_BYTE),
    K("mov", 0x8b, 0, SHAPE_REGISTER),
    K("mov", 0xc6, 0, SHAPE_BYTE | SHAPE_IMMEDIATE),
    K("mov", 0xc7, 0, SHAPE_IMMEDIATE),
    K("test", 0xf6, 0, SHAPE_BYTE | SHAPE_IMMEDIATE | SHAPE_AF),
    K("test", 0xf7, 0, SHAPE_IMMEDIATE | SHAPE_AF),
    K("test", 0xf6, 1, SHAPE_BYTE | SHAPE_IMMEDIATE | SHAPE_AF),
    K("test", 0xf7, 1, SHAPE_IMMEDIATE | SHAPE_AF),
    K("not", 0xf6, 2, SHAPE_BYTE | SHAPE_LOCK),
    K("not", 0xf7, 2, SHAPE_LOCK),
    K("neg", 0xf6, 3, SHAPE_BYTE | SHAPE_LOCK),
    K("neg", 0xf7, 3, SHAPE_LOCK),
    K("inc", 0xfe, 0, SHAPE_BYTE | SHAPE_LOCK),
    K("inc", 0xff, 0, SHAPE_LOCK),
    K("dec", 0xfe, 1, SHAPE_BYTE | SHAPE_LOCK),
    K("dec", 0xff, 1, SHAPE_LOCK),
    K("movsxd", 0x63, 0, SHAPE_REGISTER | SHAPE_64),
    K("movnti", 0x1c3, 0, SHAPE_REGISTER | SHAPE_64),
    K("movzx", 0x1b6, 0, SHAPE_REGISTER),
    K("movzx", 0x1b7, 0, SHAPE_REGISTER),
    K("movsx", 0x1be, 0, SHAPE_REGISTER),
    K("movsx", 0x1bf, 0, SHAPE_REGISTER),
    K("cmpxchg", 0x1b0, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK),
    K("cmpxchg", 0x1b1, 0, SHAPE_REGISTER | SHAPE_LOCK),
    K("xadd", 0x1c0, 0, SHAPE_REGISTER | SHAPE_BYTE | SHAPE_LOCK),
    K("xadd", 0x1c1, 0, SHAPE_REGISTER | SHAPE_LOCK),
    K("bt", 0x1a3, 0, SHAPE_REGISTER | SHAPE_BIT_OFFSET | SHAPE_BITS),
    K("bt", 0x1ba, 4, SHAPE_IMMEDIATE_8 | SHAPE_BITS),
    K("bts", 0x1ab, 0, SHAPE_REGISTER | SHAPE_BIT_OFFSET | SHAPE_BITS | SHAPE_LOCK),
    K("bts", 0x1ba, 5, SHAPE_IMMEDIATE_8 | SHAPE_BITS | SHAPE_LOCK),
    K("btr", 0x1b3, 0, SHAPE_REGISTER | SHAPE_BIT_OFFSET | SHAPE_BITS | SHAPE_LOCK),
    K("btr", 0x1ba, 6, SHAPE_IMMEDIATE_8 | SHAPE_BITS | SHAPE_LOCK),
    K("btc", 0x1bb, 0, SHAPE_REGISTER | SHAPE_BIT_OFFSET | SHAPE_BITS | SHAPE_LOCK),
    K("btc", 0x1ba, 7, SHAPE_IMMEDIATE_8 | SHAPE_BITS | SHAPE_LOCK),
    K("imul", 0x1af, 0, SHAPE_REGISTER | SHAPE_PRODUCT),
    K("imul", 0x69, 0, SHAPE_REGISTER | SHAPE_IMMEDIATE | SHAPE_PRODUCT),
    K("imul", 0x6b, 0, SHAPE_REGISTER | SHAPE_IMMEDIATE_8 | SHAPE_PRODUCT),
    K("mul", 0xf6, 4, SHAPE_BYTE | SHAPE_PRODUCT),
    K("mul", 0xf7, 4, SHAPE_PRODUCT),
    K("imul", 0xf6, 5, SHAPE_BYTE | SHAPE_PRODUCT),
    K("imul", 0xf7, 5, SHAPE_PRODUCT),
    K("div", 0xf6, 6, SHAPE_BYTE | SHAPE_QUOTIENT),
    K("div", 0xf7, 6, SHAPE_QUOTIENT),
    K("idiv", 0xf6, 7, SHAPE_BYTE | SHAPE_QUOTIENT | SHAPE_SIGNED),
    K("idiv", 0xf7, 7, SHAPE_QUOTIENT | SHAPE_SIGNED),
    K("bsf", 0x1bc, 0, SHAPE_REGISTER | SHAPE_ZF),
    K("bsr", 0x1bd, 0, SHAPE_REGISTER | SHAPE_ZF),
    K("tzcnt", 0x1bc, 0, SHAPE_REGISTER | SHAPE_F3 | SHAPE_BITS),
    K("lzcnt", 0x1bd, 0, SHAPE_REGISTER | SHAPE_F3 | SHAPE_BITS),
    K("popcnt", 0x1b8, 0, SHAPE_REGISTER | SHAPE_F3),
    K("cmpxchg8b", 0x1c7, 1, SHAPE_PAIR | SHAPE_LOCK),
    K("shld", 0x1a4, 0, SHAPE_REGISTER | SHAPE_SHIFT | SHAPE_IMMEDIATE_8),
    K("shld", 0x1a5, 0, SHAPE_REGISTER | SHAPE_SHIFT | SHAPE_CL),
    K("shrd", 0x1ac, 0, SHAPE_REGISTER | SHAPE_SHIFT | SHAPE_IMMEDIATE_8),
    K("shrd", 0x1ad, 0, SHAPE_REGISTER | SHAPE_SHIFT | SHAPE_CL),
    K("setcc", 0x190, 0, SHAPE_BYTE),
    K("cmovcc", 0x140, 0, SHAPE_REGISTER),
    K("setcc", 0x191, 0, SHAPE_BYTE),
    K("cmovcc", 0x141, 0, SHAPE_REGISTER),
    K("setcc", 0x192, 0, SHAPE_BYTE),
    K("cmovcc", 0x142, 0, SHAPE_REGISTER),
    K("setcc", 0x193, 0, SHAPE_BYTE),
    K("cmovcc", 0x143, 0, SHAPE_REGISTER),
    K("setcc", 0x194, 0, SHAPE_BYTE),
    K("cmovcc", 0x144, 0, SHAPE_REGISTER),
    K("setcc", 0x195, 0, SHAPE_BYTE),
    K("cmovcc", 0x145, 0, SHAPE_REGISTER),
    K("setcc", 0x196, 0, SHAPE_BYTE),
    K("cmovcc", 0x146, 0, SHAPE_REGISTER),
    K("setcc", 0x197, 0, SHAPE_BYTE),
    K("cmovcc", 0x147, 0, SHAPE_REGISTER),
    K("setcc", 0x198, 0, SHAPE_BYTE),
    K("cmovcc", 0x148, 0, SHAPE_REGISTER),
    K("setcc", 0x199, 0, SHAPE_BYTE),
    K("cmovcc", 0x149, 0, SHAPE_REGISTER),
    K("setcc", 0x19a, 0, SHAPE_BYTE),
    K("cmovcc", 0x14a, 0, SHAPE_REGISTER),
    K("setcc", 0x19b, 0, SHAPE_BYTE),
    K("cmovcc", 0x14b, 0, SHAPE_REGISTER),
    K("setcc", 0x19c, 0, SHAPE_BYTE),
    K("cmovcc", 0x14c, 0, SHAPE_REGISTER),
    K("setcc", 0x19d, 0, SHAPE_BYTE),
    K("cmovcc", 0x14d, 0, SHAPE_REGISTER),
    K("setcc", 0x19e, 0, SHAPE_BYTE),
    K("cmovcc", 0x14e, 0, SHAPE_REGISTER),
    K("setcc", 0x19f, 0, SHAPE_BYTE),
    K("cmovcc", 0x14f, 0, SHAPE_REGISTER),
};

static void test_every_kind_against_the_cpu(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 2000; n++)
        for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
            run_kind(&kinds[i]);
}

/* ROL to SAR, by an immediate, by 1 and by CL. */
static void test_shifts_against_the_cpu(void **state)
{
    static const u32 counts[3] = {SHAPE_IMMEDIATE_8, 0, SHAPE_CL};
    static const u16 opcodes[3] = {0xc0, 0xd0, 0xd2};
    (void)state;
    for (unsigned n = 0; n < 150000; n++) {
        u32 how = below(3);
        bool byte = below(4) == 0;
        struct kind k = {"shift", (u16)(opcodes[how] | !byte), (u8)below(8),
                         SHAPE_SHIFT | counts[how] | (byte ? SHAPE_BYTE : 0)};
        run_kind(&k);
    }
}

/* MOV between the accumulator and an absolute address (A0 to A3). */
static void test_absolute_moves_against_the_cpu(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 2000; n++) {
        struct sample s;
        bool address_32 = below(2);
        random_machine(&s);
        if (address_32)
            put(&s, 0x67, 1);
        if (below(3) == 0)
            put(&s, 0x66, 1);
        if (below(3) == 0)
            put(&s, 0x48, 1);
        put(&s, 0xa0 + below(4), 1);
        put(&s, (u64)(uintptr_t)arena + below(ARENA_BYTES - 8), address_32 ? 4 : 8);
        check_sample(&s, "mov absolute");
    }
}

/* String instructions, repeated or not, in both directions and with 32-bit addresses; overlapping moves included. */
static void test_strings_against_the_cpu(void **state)
{
    static const u8 opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    (void)state;
    for (unsigned n = 0; n < 60000; n++) {
        struct sample s;
        bool address_32 = below(3) == 0;
        u8 opcode = opcodes[below(sizeof opcodes)];
        u64 middle = (u64)(uintptr_t)arena + ARENA_BYTES / 2;
        random_machine(&s);
        if (below(4) == 0) /* equal runs for CMPS and SCAS */
            memset(arena + 300, (int)s.machine.gpr[0] & 0xff, 400);
        s.machine.rflags |= below(2) ? RFLAGS_DF : 0;
        s.machine.gpr[1] = below(25);
        s.machine.gpr[6] = middle + below(100) - 50;
        s.machine.gpr[7] = below(4) ? middle + below(100) - 50 : s.machine.gpr[6] + below(4);
        if (address_32) {
            for (unsigned i = 6; i < 8; i++)
                s.machine.gpr[i] |= next_random() << 32;
            /* What becomes of RCX's upper half when ECX is 0 differs between CPUs. */
            s.machine.gpr[1] = (1 + below(24)) | next_random() << 32;
            put(&s, 0x67, 1);
        }
        if (below(4) == 0)
            put(&s, 0x66, 1);
        if (below(3))
            put(&s, below(2) ? 0xf3 : 0xf2, 1);
        if (below(3) == 0)
            put(&s, 0x48, 1);
        put(&s, opcode, 1);
        check_sample(&s, "string");
    }
}

enum { NP = 0, P66 = 0x66, PF3 = 0xf3, PF2 = 0xf2 };

/* Moves of XMM and YMM registers. */
static const struct vector_kind {
    const char *name;
    u8 map, opcode, prefix;
    bool w;                /* REX.W or VEX.W may be set */
    bool legacy, vex, two; /* has this encoding; with VEX.L, too */
    bool second;           /* VEX.vvvv is a register */
    bool immediate;
} vector_kinds[] = {
    {"movups",       1, 0x10, NP,  false, true,  true, true,  false, false},
    {"movupd",       1, 0x11, P66, false, true,  true, true,  false, false},
    {"movss",        1, 0x10, PF3, false, true,  true, false, false, false},
    {"movss",        1, 0x11, PF3, false, true,  true, false, false, false},
    {"movsd",        1, 0x10, PF2, false, true,  true, false, false, false},
    {"movsd",        1, 0x11, PF2, false, true,  true, false, false, false},
    {"movlps",       1, 0x12, NP,  false, true,  true, false, true,  false},
    {"movlpd",       1, 0x12, P66, false, true,  true, false, true,  false},
    {"movlps",       1, 0x13, NP,  false, true,  true, false, false, false},
    {"movhps",       1, 0x16, NP,  false, true,  true, false, true,  false},
    {"movhpd",       1, 0x16, P66, false, true,  true, false, true,  false},
    {"movhpd",       1, 0x17, P66, false, true,  true, false, false, false},
    {"movaps",       1, 0x28, NP,  false, true,  true, true,  false, false},
    {"movapd",       1, 0x29, P66, false, true,  true, true,  false, false},
    {"movntps",      1, 0x2b, NP,  false, true,  true, true,  false, false},
    {"movd",         1, 0x6e, P66, true,  true,  true, false, false, false},
    {"movd",         1, 0x7e, P66, true,  true,  true, false, false, false},
    {"movq",         1, 0x7e, PF3, false, true,  true, false, false, false},
    {"movq",         1, 0xd6, P66, false, true,  true, false, false, false},
    {"movdqa",       1, 0x6f, P66, false, true,  true, true,  false, false},
    {"movdqu",       1, 0x6f, PF3, false, true,  true, true,  false, false},
    {"movdqa",       1, 0x7f, P66, false, true,  true, true,  false, false},
    {"movdqu",       1, 0x7f, PF3, false, true,  true, true,  false, false},
    {"movntdq",      1, 0xe7, P66, false, true,  true, true,  false, false},
    {"lddqu",        1, 0xf0, PF2, false, true,  true, true,  false, false},
    {"movntdqa",     2, 0x2a, P66, false, true,  true, true,  false, false},
    {"vinsertf128",  3, 0x18, P66, false, false, true, true,  true,  true },
    {"vextractf128", 3, 0x19, P66, false, false, true, true,  false, true },
    {"vinserti128",  3, 0x38, P66, false, false, true, true,  true,  true },
    {"vextracti128", 3, 0x39, P66, false, false, true, true,  false, true },
};

static void put_vector_opcode(struct sample *s, const struct vector_kind *k, u8 rex, bool vex)
{
    static const u8 prefixes[256] = {[P66] = 1, [PF3] = 2, [PF2] = 3};

    if (vex) {
        bool two = k->two && (k->immediate || below(2));
        u8 second = k->second ? (u8)below(16) : 0;
        put(s, 0xc4, 1);
        put(s, (u8)((~rex & 7) << 5) | k->map, 1);
        put(s, (u8)((rex & 8) << 4 | (~second & 15) << 3 | (two ? 4 : 0) | prefixes[k->prefix]), 1);
    } else {
        if (k->prefix)
            put(s, k->prefix, 1);
        if (rex || below(2))
            put(s, 0x40 | rex, 1);
        put(s, 0x0f, 1);
        if (k->map == 2)
            put(s, 0x38, 1);
    }
    put(s, k->opcode, 1);
}

static void run_vector_kind(const struct vector_kind *k, bool vex)
{
    struct sample s;
    u32 reg = below(16);
    bool address_32 = below(6) == 0;

    random_machine(&s);
    for (u32 i = 0; i < 64; i++)
        native_vectors[i / 4][i % 4] = emulated_vectors[i / 4][i % 4] = next_random();
    if (address_32)
        put(&s, 0x67, 1);
    struct form f = random_form(&s, (u64)(uintptr_t)arena + 256 + 32 * below(16), no_register, address_32);
    u8 rex = (u8)(f.rex | (k->w && below(2) ? 8 : 0) | (reg > 7 ? 4 : 0));
    put_vector_opcode(&s, k, rex, vex);
    put(&s, f.modrm | (reg & 7) << 3, 1);
    if (f.has_sib)
        put(&s, f.sib, 1);
    if (f.rip_relative)
        f.displacement -= slot_address() + s.count + 4 + k->immediate;
    put(&s, f.displacement, f.displacement_bytes);
    if (k->immediate)
        put(&s, next_random(), 1);
    check_sample(&s, k->name);
}

static void test_vectors_against_the_cpu(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx2")) {
        print_message("no AVX2 here: nothing to compare with\n");
        return;
    }
    vectors_count = 16;
    for (unsigned n = 0; n < 2000; n++)
        for (unsigned i = 0; i < ARRAY_SIZE(vector_kinds); i++) {
            if (vector_kinds[i].legacy)
                run_vector_kind(&vector_kinds[i], false);
            if (vector_kinds[i].vex)
                run_vector_kind(&vector_kinds[i], true);
        }
    vectors_count = 0;
}

/* PUSH and POP of memory, CALL and JMP through it: FF and 8F with an address form. */
static void run_stack_memory(struct sample *s, u8 opcode, u8 extension)
{
    u64 target = (u64)(uintptr_t)arena + 256 + 8 * below(32);
    bool branch = opcode == 0xff && extension < 6;
    u64 behind = slot_address() + SLOT_BYTES;
    u32 no_rsp = 1u << 4;

    if (!branch && below(4) == 0)
        put(s, 0x66, 1);
    struct form f = random_form(s, target, no_rsp, false);
    if (branch)
        memcpy((void *)(uintptr_t)target, &behind, 8);
    if (f.rex || below(2))
        put(s, 0x40 | f.rex, 1);
    put(s, opcode, 1);
    put(s, f.modrm | extension << 3, 1);
    if (f.has_sib)
        put(s, f.sib, 1);
    if (f.rip_relative)
        f.displacement -= slot_address() + s->count + 4;
    put(s, f.displacement, f.displacement_bytes);
}

/* The stack lies in the arena. */
static void test_stack_against_the_cpu(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 60000; n++) {
        struct sample s;
        u64 behind = slot_address() + SLOT_BYTES;
        u8 reg = (u8)below(16);

        random_machine(&s);
        s.machine.gpr[4] = (u64)(uintptr_t)arena + 600 + below(300);
        s.machine.gpr[5] = (u64)(uintptr_t)arena + 600 + below(300);
        switch (below(10)) {
        case 0: /* PUSH r, POP r */
            if (below(4) == 0)
                put(&s, 0x66, 1);
            if (reg > 7)
                put(&s, 0x41, 1);
            put(&s, (below(2) ? 0x50 : 0x58) | (reg & 7), 1);
            check_sample(&s, "push or pop");
            break;
        case 1:
            put(&s, 0x68, 1);
            put(&s, next_random(), 4);
            check_sample(&s, "push imm");
            break;
        case 2:
            if (below(2))
                put(&s, 0x66, 1);
            put(&s, 0x6a, 1);
            put(&s, next_random(), 1);
            check_sample(&s, "push imm8");
            break;
        case 3:
            run_stack_memory(&s, 0xff, 6);
            check_sample(&s, "push m");
            break;
        case 4:
            run_stack_memory(&s, 0x8f, 0);
            check_sample(&s, "pop m");
            break;
        case 5:
            run_stack_memory(&s, 0xff, below(2) ? 2 : 4);
            check_sample(&s, "call or jmp m");
            break;
        case 6:
            put(&s, 0xe8, 1);
            put(&s, behind - (slot_address() + 5), 4);
            check_sample(&s, "call");
            break;
        case 7:
            s.machine.gpr[reg] = reg == 4 ? s.machine.gpr[4] : behind;
            if (reg == 4)
                break;
            if (reg > 7)
                put(&s, 0x41, 1);
            put(&s, 0xff, 1);
            put(&s, 0xd0 | (reg & 7), 1);
            check_sample(&s, "call r");
            break;
        case 8:
            memcpy((void *)(uintptr_t)s.machine.gpr[4], &behind, 8);
            if (below(2)) {
                put(&s, 0xc2, 1);
                put(&s, below(64), 2);
            } else {
                put(&s, 0xc3, 1);
            }
            check_sample(&s, "ret");
            break;
        default:
            if (below(4) == 0)
                put(&s, 0x66, 1);
            put(&s, 0xc9, 1);
            check_sample(&s, "leave");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_against_the_cpu),    cmocka_unit_test(test_stack_against_the_cpu),
        cmocka_unit_test(test_every_kind_against_the_cpu), cmocka_unit_test(test_absolute_moves_against_the_cpu),
        cmocka_unit_test(test_strings_against_the_cpu),    cmocka_unit_test(test_shifts_against_the_cpu),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
