/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Task switches between any two tasks in any memory, with and without paging. The input is a good pair of tasks and a
 * list of changes to memory and registers. Checked beyond what the sanitizers see: no access crosses a page or goes
 * where nothing was translated; before the commit point nothing has changed; behind it VM entry takes the segments;
 * vectors and error codes are those that a switch may have.
 *
 * links: vmx/insn/task.c vmx/insn/gva.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "test/fake/fuzz_input.h"
#include "test/fake/must.h"
#include "test/fake/task_bench.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static struct task_bench b;
static struct gva_context paging;
static u32 writes;

static bool read_entry(void *context, gpa_t address, u8 bytes, u64 *value)
{
    (void)context;
    *value = 0;
    memcpy(value, b.memory + address.raw % sizeof b.memory, bytes);
    return true;
}

static bool update_entry(void *context, gpa_t address, u8 bytes, u64 expected, u64 value)
{
    u64 now;

    read_entry(context, address, bytes, &now);
    if (now != expected)
        return false;
    memcpy(b.memory + address.raw % sizeof b.memory, &value, bytes);
    return true;
}

static enum gva_result fuzz_translate(void *context, const struct task_state *state, u8 cpl, u32 linear,
                                      enum gva_access access, gpa_t *out, u32 *pf_error)
{
    (void)context;
    MUST(cpl <= 3 && access != GVA_FETCH);
    paging.cr0 = state->cr0;
    paging.cr3 = state->cr3;
    paging.cr4 = state->cr4;
    memcpy(paging.pdpte, state->pdpte, sizeof paging.pdpte);
    paging.cpl = cpl;
    return gva_translate(&paging, linear, access, out, pf_error);
}

static void check_access(gpa_t address, u8 bytes)
{
    MUST(bytes == 1 || bytes == 2 || bytes == 4);
    MUST((address.raw & (PAGE - 1)) + bytes <= PAGE);
}

static u32 fuzz_read(void *context, gpa_t address, u8 bytes)
{
    check_access(address, bytes);
    return bench_read(context, gpa(address.raw % sizeof b.memory), bytes);
}

static void fuzz_write(void *context, gpa_t address, u8 bytes, u32 value)
{
    check_access(address, bytes);
    MUST(bytes == 4 || value >> 8 * bytes == 0);
    writes++;
    bench_write(context, gpa(address.raw % sizeof b.memory), bytes, value);
}

static u8 fuzz_update(void *context, gpa_t address, u8 clear, u8 set)
{
    writes++;
    return bench_update(context, gpa(address.raw % sizeof b.memory), clear, set);
}

static void change(struct input *in)
{
    u32 *registers[] = {&b.state.eip,      &b.state.eflags,    &b.state.cr0,    &b.state.cr3,
                        &b.state.gdt_base, &b.state.gdt_limit, &b.state.gpr[4], &b.request.error_code};
    u32 what = take(in, 1);
    u32 which = what & 7;

    switch (what >> 5) {
    case 0:
        *registers[which] = take(in, 4);
        break;
    case 1: /* with CR4.PAE and without */
        b.state.cr4 ^= which & 1 ? CR4_PAE : CR4_PSE;
        b.state.cr0 ^= which & 2 ? CR0_PG : 0;
        b.state.pdpte[which >> 1] = take(in, 2) << 12 | 1;
        break;
    case 2:
        b.state.segment[which].base = take(in, 4);
        b.state.segment[which].limit = take(in, 3);
        break;
    case 3:
        b.state.segment[which].access = take(in, 2) | (which & 1 ? TASK_UNUSABLE : 0);
        break;
    case 4: /* a selector of the new task */
        task_put(&b, NEW_TSS + TSS_ES + 4 * which, 2, take(in, 2));
        break;
    case 5: /* a descriptor */
        task_put(&b, GDT + 8 * take(in, 1), 4, take(in, 4));
        break;
    default: {
        u32 at = take(in, 2);
        task_put(&b, at & ~3u, 4, take(in, 4));
    }
    }
}

/* SDM 3C 26.3.1.2 "Checks on Guest Segment Registers" */
static void check_segments(void)
{
    const struct task_register *segment = b.state.segment;
    u32 cpl = segment[TASK_SS].access >> 5 & 3;
    u32 code = segment[TASK_CS].access;

    MUST((segment[TASK_TR].access & 0x97) == 0x83);
    MUST(segment[TASK_LDTR].access & TASK_UNUSABLE || (segment[TASK_LDTR].access & 0x9f) == 0x82);
    for (u32 i = TASK_ES; i <= TASK_LDTR; i++) {
        u32 access = segment[i].access, limit = segment[i].limit;
        MUST(!(access & 0xfffe0f00));
        if (access & TASK_UNUSABLE)
            continue;
        MUST((access & 0x8000) ? (limit & 0xfff) == 0xfff : !(limit >> 20));
    }
    if (b.state.eflags & RFLAGS_VM) {
        for (u32 i = TASK_ES; i <= TASK_GS; i++)
            MUST(segment[i].access == 0xf3 && segment[i].limit == 0xffff &&
                 segment[i].base == (u32)segment[i].selector << 4);
        return;
    }
    MUST((code & (TASK_UNUSABLE | 0x99)) == 0x99);
    MUST(code & 4 ? (code >> 5 & 3) <= cpl : (code >> 5 & 3) == cpl);
    MUST(segment[TASK_SS].access & TASK_UNUSABLE || (segment[TASK_SS].access & 0x9b) == 0x93);
    for (u32 i = TASK_ES; i <= TASK_GS; i++)
        MUST(segment[i].access & TASK_UNUSABLE || (segment[i].access & 0x91) == 0x91);
}

static void check_fault(void)
{
    const u32 vectors = BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP) | BIT(VECTOR_PF);

    MUST(b.out.vector < 32 && vectors >> b.out.vector & 1);
    if (b.out.vector == VECTOR_PF)
        MUST(b.state.cr0 & CR0_PG);
    else
        MUST(b.out.error_code <= 0xffff && (b.out.error_code & 3) == b.request.external);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    const struct task_calls calls = {fuzz_translate, fuzz_read, fuzz_write, fuzz_update, bench_load_pdptes};
    static struct task_state before;
    struct input in = {data, size};
    u32 how = take(&in, 1);

    task_bench_start(&b, (enum task_source)(how & 3));
    paging = (struct gva_context){.physical_bits = 36, .read_entry = read_entry, .update_entry = update_entry};
    for (u32 i = 0; i < PAGES; i++) { /* tables in page 10, which map the first 64 KiB to themselves */
        task_put(&b, 10 * PAGE + 4 * i, 4, i * PAGE | 3);
        task_put(&b, 11 * PAGE, 4, 10 * PAGE | 3);
    }
    b.state.cr3 = how & 4 ? 11 * PAGE : 0;
    b.state.cr0 |= how & 4 ? (u32)CR0_PG : 0;
    task_put(&b, NEW_TSS + TSS_CR3, 4, b.state.cr3);
    b.request.external = how & 8;
    b.request.has_error = how & 16;
    b.bad_cr3 = 0x9000;
    while (in.left)
        change(&in);
    before = b.state;
    writes = 0;
    task_switch(&calls, &b, &b.request, &b.state, &b.out);
    MUST(b.out.committed || b.out.result == TASK_FAULT || b.out.result == TASK_STOP);
    if (b.out.committed)
        check_segments();
    else
        MUST(memcmp(&before, &b.state, sizeof before) == 0);
    if (b.out.result == TASK_FAULT)
        check_fault();
    return 0;
}
