/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The composition root: from the boot loader's jump to running machines. Boot CPU, interrupts off, on the boot stack.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "boot/boot_info.h"
#include "drivers/host/keyboard.h"
#include "drivers/host/power.h"
#include "kernel/start/board.h"
#include "kernel/start/boot_memory.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/frames.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/start/life.h"
#include "kernel/start/vms.h"
#include "kernel/panic.h"
#include "kernel/start/firmware.h"
#include "kernel/start/host.h"
#include "kernel/sched/sched.h"
#include "kernel/start/selftest.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

extern const u8 image_start[], image_end[];
extern u64 boot_entry_tsc; /* TSC when GRUB jumped to us */
void kernel_main(u32 magic, u32 info_physical);

#define READ_NS 60000000000ull

static struct boot_info boot_info;
static u64 ram_bytes;
static hpa_t ap_trampoline; /* a free frame below 640 KiB, kept from the allocator; 0: there is none */

/* The last line. On a screen alone it would be gone before anybody has read what stands above. */
static void end_log(bool well)
{
    bool stays = console_is_screen_only() && !vms_end_was_ordered();

    if (stays)
        log_info("any key, or a minute, ends this");
    log_event("end status=%s", well ? "ok" : "fail");
    console_flush();
    while (keyboard_receive() >= 0)
        ;
    for (u64 until = cpu_tsc() + clock_tsc_from_ns(READ_NS); stays && cpu_tsc() < until && keyboard_receive() < 0;)
        cpu_pause();
}

static NORETURN void end_with_failure(void)
{
    vms_print_failed();
    end_log(false);
    power_off();
}

/* The boot tables map only the first 4 GiB: what lies beyond is given in the second pass. */
struct memory_pass {
    u64 from;
    u64 to;
};

static void give_frames(void *context, hpa_t base, u64 count)
{
    const struct memory_pass *pass = context;
    u64 from = base.raw < pass->from ? pass->from : base.raw;
    u64 to = base.raw + count * FRAME_BYTES;

    to = to > pass->to ? pass->to : to;
    if (!ap_trampoline.raw && from < KIB(640) && from < to) {
        ap_trampoline = hpa(from);
        from += FRAME_BYTES;
    }
    if (from < to)
        frames_add(hpa(from), (to - from) / FRAME_BYTES);
}

static void add_free_memory(u32 info_physical, u64 info_bytes, struct memory_pass pass)
{
    static struct boot_ranges keep;
    u64 image = virt_to_phys(image_start).raw;

    keep.count = 0;
    CHECK(boot_memory_append(&keep, image, (u64)(image_end - image_start)));
    CHECK(boot_memory_append(&keep, info_physical, info_bytes));
    CHECK(boot_memory_collect(&boot_info, &keep, give_frames, &pass) == STATUS_OK);
}

/* Of a CPU without RDRAND the time at which it has come here must do. Ten tries are enough: SDM 1 7.3.17.1 "RDRAND". */
static u64 unpredictable(void)
{
    u64 random = 0;

    if (cpu_cpuid(1, 0).ecx & BIT(30))
        for (u32 tries = 0; tries < 10 && !cpu_rdrand(&random); tries++)
            continue;
    return random ^ cpu_tsc();
}

static bool zeroed_frame(hpa_t *out)
{
    return frames_allocate(1, 1, out) == STATUS_OK;
}

/* Frames below 4 GiB, then the kernel's own page tables out of them, then all other frames. */
static void init_memory(u32 info_physical, u64 info_bytes)
{
    static struct boot_ranges mapped;
    static struct paging_range ranges[BOOT_MEMORY_MAX_RANGES];

    frames_init(unpredictable());
    add_free_memory(info_physical, info_bytes, (struct memory_pass){0, GIB(4)});
    boot_memory_regions(&boot_info, BOOT_REGION_RAM, &mapped);
    for (u32 i = 0; i < mapped.count; i++) {
        ranges[i] = (struct paging_range){mapped.items[i].base, mapped.items[i].end - mapped.items[i].base};
        ram_bytes += ranges[i].size_bytes;
    }
    CHECK(paging_init(ranges, mapped.count, zeroed_frame) == STATUS_OK);
    percpu_guard_boot_stacks();
    add_free_memory(info_physical, info_bytes, (struct memory_pass){GIB(4), DIRECT_MAP_MAX});
}

/* ---- VMX operation on each CPU ---- */

static u32 cpus_in_root;  /* atomic */
static u32 cpus_refused;  /* atomic */
static u32 cpus_left;     /* atomic */
static u32 enter_allowed; /* atomic: the boot CPU has resolved what VMX this machine has */

static void enter_root(void)
{
    struct refusal why;

    if (virt_cpu_enter(&why) != STATUS_OK) {
        log_error("cpu id=%u cannot enter VMX operation: %s", cpu_id(), why.text);
        __atomic_fetch_add(&cpus_refused, 1, __ATOMIC_SEQ_CST);
        return;
    }
    log_event("cpu id=%u apic=%u vmx=root", cpu_id(), cpu_local()->apic_id);
    __atomic_fetch_add(&cpus_in_root, 1, __ATOMIC_SEQ_CST);
}

static void leave_root(void)
{
    if (!(sched_cpus_off >> cpu_id() & 1)) { /* the monitor's vmx off */
        virt_cpu_leave();
        log_event("cpu id=%u vmx=off", cpu_id());
    }
    selftest_after_vmxoff();
    __atomic_fetch_add(&cpus_left, 1, __ATOMIC_SEQ_CST);
}

/* The life of every CPU but the boot CPU. */
static void ap_main(struct cpu_local *cpu)
{
    (void)cpu;
    while (!__atomic_load_n(&enter_allowed, __ATOMIC_SEQ_CST))
        cpu_pause();
    enter_root();
    while (!__atomic_load_n(&cpus_refused, __ATOMIC_SEQ_CST) &&
           __atomic_load_n(&cpus_in_root, __ATOMIC_SEQ_CST) < smp_cpu_count())
        cpu_pause();
    if (!__atomic_load_n(&cpus_refused, __ATOMIC_SEQ_CST)) {
        sched_run();
        leave_root();
    }
    smp_halt_forever();
}

static void enter_root_everywhere(void)
{
    __atomic_store_n(&enter_allowed, 1, __ATOMIC_SEQ_CST);
    enter_root();
    while (__atomic_load_n(&cpus_in_root, __ATOMIC_SEQ_CST) + __atomic_load_n(&cpus_refused, __ATOMIC_SEQ_CST) <
           smp_cpu_count())
        cpu_pause();
    if (__atomic_load_n(&cpus_refused, __ATOMIC_SEQ_CST))
        end_with_failure();
}

/* Runs the VMs and returns when all have ended and every CPU has left VMX operation. */
static void run_machines(enum trace_to trace)
{
    u64 frames_before = frames_free_count();

    memory_set_between(sched_share_cpu);
    sched_set_work(vms_work);
    enter_root_everywhere();
    console_set_show(sched_request_work);
    vms_start(&boot_info, &board_pc);
    console_set_show(NULL); /* what has been said is drawn before guests share the CPU */
    console_set_show(sched_request_work);
    sched_run();
    leave_root();
    while (__atomic_load_n(&cpus_left, __ATOMIC_SEQ_CST) < smp_cpu_count())
        cpu_pause();
    u64 first = sched_first_run_tsc();
    if (first)
        log_event("first entry ticks=%lu", first - boot_entry_tsc);
    selftest_at_end();
    vms_report_and_free(trace);
    while (frames_clean_piece())
        ;
    u64 frames_after = frames_free_count();
    log_event("frames before=%lu after=%lu lost=%ld", frames_before, frames_after, (s64)(frames_before - frames_after));
    if (frames_before != frames_after)
        vms_note_failure();
}

/* ---- boot ---- */

static void take_options(struct host_options *options)
{
    struct refusal why;

    if (host_options_parse(boot_info.command_line, options, &why) != STATUS_OK) {
        log_error("option refused: %s", why.text);
        vms_note_failed("option=\"%s\"", why.text);
    }
    log_set_level(options->log);
}

/* What the CPUs did before a panic. */
static void print_last_records(void (*print)(const char *line))
{
    trace_print_newest(NULL, TRACE_LAST, print);
}

/* What VMX there is comes first: a CPU that has less of it is left out before it gets its number. */
static enum status virt_status;
static struct refusal virt_why;

static void start_cpus(const struct host_options *options)
{
    struct selftest_cpus odd = selftest_before_cpus(options->test);
    const struct platform_cpus cpus = {
        .trampoline = ap_trampoline,
        .entry = ap_main,
        .check = virt_status == STATUS_OK ? virt_cpu_check : NULL,
        .smt = options->smt,
        .mitigations = options->mitigations,
        .test_skew = odd.tsc_skew,
        .test_stuck = odd.tsc_stuck,
    };

    host_start_cpus(&cpus);
}

static void boot(u32 magic, u32 info_physical, struct host_options *options)
{
    const u32 *info = phys_to_virt(hpa(info_physical));
    struct refusal why;

    if (magic != MULTIBOOT2_BOOTLOADER_MAGIC) {
        log_error("not started by a multiboot2 boot loader (magic 0x%x)", magic);
        end_with_failure();
    }
    u32 info_bytes = info[0];
    if (boot_info_parse(info, info_bytes, &boot_info, &why) != STATUS_OK) {
        log_error("the boot loader's information is unusable: %s", why.text);
        end_with_failure();
    }
    take_options(options);
    init_memory(info_physical, info_bytes);
    firmware_choose_screen(&boot_info);
    log_info("image at=0x%lx bytes=%lu", virt_to_phys(image_start).raw, (u64)(image_end - image_start));
    if (host_init(&boot_info, options, &why) != STATUS_OK) {
        log_error("%s", why.text);
        end_with_failure();
    }
    sched_init();
    virt_status = virt_init(options, &virt_why);
    start_cpus(options);
    if (trace_init(&why) != STATUS_OK) {
        log_error("%s", why.text);
        end_with_failure();
    }
    panic_set_epilogue(print_last_records);
    log_event("boot version=%s cpus=%u mem=%lu", ROOTLET_VERSION, smp_cpu_count(), ram_bytes);
}

void kernel_main(u32 magic, u32 info_physical)
{
    static struct host_options options;

    percpu_init_boot_cpu();
    console_init();
    panic_init();
    boot(magic, info_physical, &options);
    selftest_begin(options.test);
    if (virt_status != STATUS_OK) {
        log_error("%s", virt_why.text);
        end_with_failure();
    }
    vms_set_monitor(&options);
    vms_set_console_input(options.console_input);
    vms_set_debugger(&options);
    run_machines(options.trace);
    vms_print_failed();
    end_log(vms_all_well());
    if (vms_want_reboot())
        power_restart();
    power_off();
}
