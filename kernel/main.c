/*
 * The composition root: from the boot loader's jump to running machines. Boot CPU, interrupts off, on the boot stack.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "boot/boot_info.h"
#include "drivers/host/power.h"
#include "kernel/boot_memory.h"
#include "kernel/console.h"
#include "kernel/frames.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/platform.h"

#define VERSION "0.1"

extern const u8 image_start[], image_end[];
extern u64 boot_entry_tsc; /* TSC when GRUB jumped to us */
void kernel_main(u32 magic, u32 info_physical);

static struct boot_info boot_info;
static u64 ram_bytes;
static hpa_t ap_trampoline; /* a free frame below 640 KiB, kept from the allocator; 0: there is none */

static NORETURN void end_with_failure(void)
{
    log_event("end status=fail");
    console_flush();
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

static bool zeroed_frame(hpa_t *out)
{
    return frames_allocate(1, 1, out) == STATUS_OK;
}

/* Frames below 4 GiB, then the kernel's own page tables out of them, then all other frames. */
static void init_memory(u32 info_physical, u64 info_bytes)
{
    static struct boot_ranges mapped;
    static struct paging_range ranges[BOOT_MEMORY_MAX_RANGES];

    add_free_memory(info_physical, info_bytes, (struct memory_pass){0, GIB(4)});
    boot_memory_regions(&boot_info, BOOT_REGION_RAM, &mapped);
    for (u32 i = 0; i < mapped.count; i++) {
        ranges[i] = (struct paging_range){mapped.items[i].base, mapped.items[i].end - mapped.items[i].base};
        ram_bytes += ranges[i].size_bytes;
    }
    CHECK(paging_init(ranges, mapped.count, zeroed_frame) == STATUS_OK);
    percpu_guard_boot_stacks();
    add_free_memory(info_physical, info_bytes, (struct memory_pass){GIB(4), ~0ull});
}

static void park(struct cpu_local *cpu)
{
    (void)cpu;
}

void kernel_main(u32 magic, u32 info_physical)
{
    const u32 *info = phys_to_virt(hpa(info_physical));
    struct refusal why;

    percpu_init_boot_cpu();
    console_init();
    panic_init();
    if (magic != MULTIBOOT2_BOOTLOADER_MAGIC) {
        log_error("not started by a multiboot2 boot loader (magic 0x%x)", magic);
        end_with_failure();
    }
    u32 info_bytes = info[0];
    if (boot_info_parse(info, info_bytes, &boot_info, &why) != STATUS_OK) {
        log_error("the boot loader's information is unusable: %s", why.text);
        end_with_failure();
    }
    init_memory(info_physical, info_bytes);
    if (platform_init(&boot_info, &why) != STATUS_OK) {
        log_error("%s", why.text);
        end_with_failure();
    }
    platform_start_cpus(ap_trampoline, park);
    log_event("boot version=%s cpus=%u mem=%lu", VERSION, smp_cpu_count(), ram_bytes);
    log_info("free frames %lu, %lu ticks since entry", frames_free_count(), cpu_tsc() - boot_entry_tsc);
    end_with_failure();
}
