/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tour of the hypercalls: each one as it should be used, then each one as it should not, with the answers checked
 * (docs/guest-abi.md). Ends through the last of them, exit with status 0.
 */
#include "guests/lib/guest.h"

#define MARK_EBX 0x11111111u
#define MARK_ECX 0x22222222u
#define MARK_EDX 0x33333333u

static u64 high_ram_end(void)
{
    return ROOTLET_MEM_HIGH + guest_upper_memory_bytes();
}

/* Makes a call that must fail: with exactly this status, and with every other register unchanged. */
static void expect_error(struct hypercall call, u32 status, const char *text)
{
    struct hypercall answer = call;
    hypercall(&answer);
    if (answer.eax != status)
        print("call %x: status %u instead of %u\n", call.eax, answer.eax, status);
    expect(answer.eax == status, text);
    expect(answer.ebx == call.ebx && answer.ecx == call.ecx && answer.edx == call.edx,
           "a refused call changed a register");
}

static void check_version(void)
{
    struct hypercall call = {ROOTLET_CALL_VERSION, 0, MARK_ECX, MARK_EDX};
    expect(hypercall(&call) == ROOTLET_OK && call.ebx == ROOTLET_ABI_VERSION, "version");
    expect(call.ecx == MARK_ECX && call.edx == MARK_EDX, "version changed a register");
    struct cpuid leaf = cpu_cpuid(ROOTLET_CPUID_FEATURES, 0);
    expect(leaf.eax == 0 && leaf.ebx == ROOTLET_ABI_VERSION, "CPUID tells another version");
    print("hypercalls version=%u\n", call.ebx);
}

static void check_console(void)
{
    static const char line[] = "hypercalls console write\n";
    u64 address = (uintptr_t)line, end = high_ram_end();
    u32 written;
    expect(hypercall_console_write(address, sizeof(line) - 1, &written) == ROOTLET_OK, "console write");
    expect(written == sizeof(line) - 1, "console write was short");
    expect(hypercall_console_write(address, 0, &written) == ROOTLET_OK && written == 0, "empty console write");

    u32 number = ROOTLET_CALL_CONSOLE_WRITE;
    expect_error((struct hypercall){number, (u32)address, 0, ROOTLET_CONSOLE_WRITE_MAX + 1}, ROOTLET_ERROR_ARGUMENT,
                 "a console write that is too long");
    expect_error((struct hypercall){number, (u32)address, 0, 0xffffffff}, ROOTLET_ERROR_ARGUMENT,
                 "a console write of 4 GiB");
    expect_error((struct hypercall){number, (u32)end, (u32)(end >> 32), 1}, ROOTLET_ERROR_POINTER,
                 "a console write behind the end of RAM");
    expect_error((struct hypercall){number, (u32)end - 1, (u32)((end - 1) >> 32), 2}, ROOTLET_ERROR_POINTER,
                 "a console write across the end of RAM");
    expect_error((struct hypercall){number, ROOTLET_MEM_LOW_END - 1, 0, 2}, ROOTLET_ERROR_POINTER,
                 "a console write across the end of low RAM");
    expect_error((struct hypercall){number, 0xffffffff, 0xffffffff, 16}, ROOTLET_ERROR_POINTER,
                 "a console write that wraps around");
    expect_error((struct hypercall){number, (u32)address, 0x80000000, 1}, ROOTLET_ERROR_POINTER,
                 "a console write from a wild address");
}

/* The clock runs at the rate that it tells for the TSC. */
static void check_clock(void)
{
    u32 khz = hypercall_tsc_khz();
    expect(khz > 1000, "TSC frequency");
    u64 tsc_a = cpu_rdtsc();
    u64 first_ns = hypercall_clock_ns();
    u64 tsc_b = cpu_rdtsc();
    while (cpu_rdtsc() - tsc_b < (u64)khz * 5) /* 5 ms */
        cpu_pause();
    u64 tsc_c = cpu_rdtsc();
    u64 second_ns = hypercall_clock_ns();
    u64 tsc_d = cpu_rdtsc();

    u64 elapsed_ns = second_ns - first_ns;
    u64 least_ns = divide_u64((tsc_c - tsc_b) * 1000000, khz, NULL);
    u64 most_ns = divide_u64((tsc_d - tsc_a) * 1000000, khz, NULL);
    expect(elapsed_ns * 100 >= least_ns * 99, "the clock is slower than the TSC");
    expect(elapsed_ns * 100 <= most_ns * 101, "the clock is faster than the TSC");
    print("hypercalls tsc_khz=%u\n", khz);
}

static void check_sleep(void)
{
    u64 start_ns = hypercall_clock_ns();
    expect(hypercall_sleep_until(start_ns + 5000000) == ROOTLET_OK, "sleep");
    u64 elapsed_ns = hypercall_clock_ns() - start_ns;
    expect(elapsed_ns >= 5000000, "sleep returned early");
    expect(hypercall_sleep_until(0) == ROOTLET_OK, "sleep until a time in the past");
    print("hypercalls sleep due_us=5000 elapsed_us=%llu\n", divide_u64(elapsed_ns, 1000, NULL));
}

static void check_identity(void)
{
    struct hypercall call = {ROOTLET_CALL_IDENTITY, MARK_EBX, MARK_ECX, MARK_EDX};
    expect(hypercall(&call) == ROOTLET_OK, "identity");
    expect(call.ecx == 0, "the boot vCPU is not number 0");
    expect(call.edx >= 1 && call.edx < 1000, "number of vCPUs");
    print("hypercalls vm=%u vcpu=%u vcpus=%u\n", call.ebx, call.ecx, call.edx);

    u32 number = ROOTLET_CALL_START_VCPU, entry = ROOTLET_MEM_HIGH;
    expect_error((struct hypercall){number, call.edx, entry, 0}, ROOTLET_ERROR_ARGUMENT, "starting a vCPU too many");
    expect_error((struct hypercall){number, 0xffffffff, entry, 0}, ROOTLET_ERROR_ARGUMENT, "starting a wild vCPU");
    expect_error((struct hypercall){number, 0, entry, 0}, ROOTLET_ERROR_STATE, "starting itself");
}

static void check_unknown(void)
{
    static const u32 numbers[] = {ROOTLET_CALL_COUNT, 100, 0x7fffffff, ROOTLET_CALL_RESERVED, 0xffffffff};
    for (u32 i = 0; i < ARRAY_LENGTH(numbers); i++)
        expect_error((struct hypercall){numbers[i], MARK_EBX, MARK_ECX, MARK_EDX}, ROOTLET_ERROR_UNKNOWN,
                     "an unknown call");
}

int guest_main(void)
{
    expect(hypercall_present(), "no hypervisor in sight");
    check_version();
    check_console();
    expect(hypercall_yield() == ROOTLET_OK, "yield");
    check_clock();
    check_sleep();
    check_identity();
    check_unknown();
    print("hypercalls ok\n");
    return 0;
}
