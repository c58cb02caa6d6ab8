/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that a vCPU's XSAVE state is its own: x87, SSE, AVX and AVX-512 registers, as many as XCR0 can enable, count
 * for many slices without ever being stored by the guest; then each lane is compared with what integer arithmetic says.
 * Run several beside each other with different seed=. Options: seed=<n> (1), ms=<n> (200: least run time).
 */
#include "guests/lib/guest.h"

#define ROUNDS    1000000u
#define REGISTERS 4u /* that count; as many more hold the steps */
#define LANES     8u /* doubles in the widest register */

#define XCR0_X87_SSE 0x03u
#define XCR0_AVX     0x04u
#define XCR0_AVX512  0xe0u

#define MXCSR_ROUND_DOWN 0x3f80u /* all exceptions masked; not the reset value, so that a loss shows */
#define FCW_ROUND_UP     0x0b7fu

/* Offsets are known to vectors.asm. */
struct vector_state {
    u64 value[REGISTERS][LANES]; /* bits of doubles */
    u64 step[REGISTERS][LANES];
    u64 x87_value, x87_step;
    u32 mxcsr, fcw;
    u64 mask; /* k1, with AVX-512 */
} __attribute__((aligned(64)));

/* vectors.asm: load all registers, add the steps `rounds` times, store all registers. */
void vectors_run_sse(struct vector_state *state, u32 rounds);
void vectors_run_avx(struct vector_state *state, u32 rounds);
void vectors_run_avx512(struct vector_state *state, u32 rounds);

static struct vector_state state;
static u32 lanes = 2;
static void (*vectors_run)(struct vector_state *, u32) = vectors_run_sse;

/* The double with this integer value, which is below 2^53. */
static u64 double_bits(u64 value)
{
    if (!value)
        return 0;
    u32 exponent = 1023 + 52;
    while (!(value >> 52)) {
        value <<= 1;
        exponent--;
    }
    return (u64)exponent << 52 | (value & 0xfffffffffffffull);
}

static u32 first_value(u32 seed, u32 index, u32 lane)
{
    return seed * 1000 + index * 100 + lane;
}
static u32 step_value(u32 seed, u32 index, u32 lane)
{
    return seed + index * LANES + lane;
}

static void enable_vectors(void)
{
    cpu_write_cr0((cpu_read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP);
    cpu_write_cr4(cpu_read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    if (!(cpu_cpuid(1, 0).ecx & 1u << 26)) {
        print("compute state=x87+sse\n");
        return;
    }
    cpu_write_cr4(cpu_read_cr4() | CR4_OSXSAVE);
    u32 supported = cpu_cpuid(0xd, 0).eax;
    u32 enabled = XCR0_X87_SSE;
    if (supported & XCR0_AVX && cpu_cpuid(1, 0).ecx & 1u << 28) {
        enabled |= XCR0_AVX;
        lanes = 4;
        vectors_run = vectors_run_avx;
        if ((supported & XCR0_AVX512) == XCR0_AVX512 && cpu_cpuid(7, 0).ebx & 1u << 16) {
            enabled |= XCR0_AVX512;
            lanes = 8;
            vectors_run = vectors_run_avx512;
        }
    }
    __asm__ volatile("xsetbv" : : "c"(0), "a"(enabled), "d"(0));
    print("compute state=x87+sse%s%s\n", lanes >= 4 ? "+avx" : "", lanes == 8 ? "+avx512" : "");
}

static void fill(u32 seed)
{
    for (u32 index = 0; index < REGISTERS; index++) {
        for (u32 lane = 0; lane < LANES; lane++) {
            state.value[index][lane] = double_bits(first_value(seed, index, lane));
            state.step[index][lane] = double_bits(step_value(seed, index, lane));
        }
    }
    state.x87_value = double_bits(seed);
    state.x87_step = double_bits(seed + 7);
    state.mxcsr = MXCSR_ROUND_DOWN;
    state.fcw = FCW_ROUND_UP;
    state.mask = 0xa5a5 + seed;
}

/* Compares all registers with what `rounds` additions make of the first values. */
static void check(u32 seed, u64 rounds)
{
    for (u32 index = 0; index < REGISTERS; index++) {
        for (u32 lane = 0; lane < lanes; lane++) {
            u32 step = step_value(seed, index, lane);
            u64 due = first_value(seed, index, lane) + rounds * step;
            expect(state.step[index][lane] == double_bits(step), "a step register was changed");
            expect(state.value[index][lane] == double_bits(due), "a vector register lost its value");
        }
    }
    expect(state.x87_value == double_bits(seed + rounds * (seed + 7)), "an x87 register lost its value");
    expect(state.x87_step == double_bits(seed + 7), "an x87 register was changed");
    expect(state.mxcsr == MXCSR_ROUND_DOWN && state.fcw == FCW_ROUND_UP, "a control register was changed");
    expect((u16)state.mask == 0xa5a5 + seed, "a mask register was changed");
}

/* The lanes that every CPU has, added up: the same number on every machine. */
static u64 answer(void)
{
    u64 sum = state.x87_value;
    for (u32 index = 0; index < REGISTERS; index++)
        sum += state.value[index][0] + state.value[index][1];
    return sum;
}

int guest_main(void)
{
    u32 seed = guest_option_number("seed", 1);
    u64 least_ns = (u64)guest_option_number("ms", 200) * 1000000;
    expect(seed >= 1 && seed <= 1000, "seed= must be 1 to 1000");
    enable_vectors();
    fill(seed);

    u64 rounds = 0, start_ns = hypercall_present() ? hypercall_clock_ns() : 0;
    do {
        vectors_run(&state, ROUNDS);
        rounds += ROUNDS;
        check(seed, rounds);
        if (rounds == ROUNDS)
            print("compute answer=%016llx\n", answer());
    } while (hypercall_present() && hypercall_clock_ns() - start_ns < least_ns);
    print("compute ok rounds=%llu\n", rounds);
    return 0;
}
