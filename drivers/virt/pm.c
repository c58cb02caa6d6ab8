/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PM1a events and the PM timer. The timer follows from the time; its status bit is the comparison of two values of its
 * upper bits, so that it needs a vtimer only while its interrupt is enabled. Runs in VMX root operation under the VM's
 * device lock; also on the host in tests.
 */
#include "drivers/virt/pm.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define NS_PER_SECOND 1000000000u
#define EVENTS        (PM_TIMER_EVENT | PM_GLOBAL_EVENT | PM_POWER_BUTTON_EVENT | PM_RTC_EVENT)
#define TOP_BIT       31

/* Exact for all 64 bits: no product overflows. */
static u64 tick_now(const struct pm *pm)
{
    u64 ns = vtimer_now(pm->timers);
    return ns / NS_PER_SECOND * PM_TIMER_HZ + ns % NS_PER_SECOND * PM_TIMER_HZ / NS_PER_SECOND;
}

/* The first nanosecond at which the timer has reached `tick`. */
static u64 ns_of_tick(u64 tick)
{
    u64 rest = (tick % PM_TIMER_HZ * NS_PER_SECOND + PM_TIMER_HZ - 1) / PM_TIMER_HZ;
    return tick / PM_TIMER_HZ * NS_PER_SECOND + rest;
}

static u16 status_now(const struct pm *pm)
{
    return (tick_now(pm) >> TOP_BIT != pm->timer_epoch ? PM_TIMER_EVENT : 0) | pm->button;
}

static void update(struct pm *pm)
{
    u16 status = status_now(pm);
    bool waits = pm->enable & PM_TIMER_EVENT && !(status & PM_TIMER_EVENT);

    vtimer_arm(pm->timers, pm->timer, waits ? ns_of_tick((pm->timer_epoch + 1) << TOP_BIT) : VTIMER_NEVER);
    line_set(&pm->sci, status & pm->enable);
}

static void fire(void *device, u64 now_ns)
{
    (void)now_ns;
    update(device);
}

static u64 read_event(void *device, u64 offset, u8 bytes)
{
    const struct pm *pm = device;
    (void)bytes;
    return ((u64)pm->enable << 16 | status_now(pm)) >> 8 * offset;
}

/* Ones clear status bits; a narrow write leaves the other bytes alone. */
static void write_event(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pm *pm = device;
    u32 mask = (u32)bits_mask_of_bytes(bytes) << 8 * offset;
    u32 shifted = (u32)(value << 8 * offset) & mask;

    if (shifted & PM_TIMER_EVENT)
        pm->timer_epoch = tick_now(pm) >> TOP_BIT;
    pm->button &= (u16)~shifted;
    pm->enable = (u16)((pm->enable & ~(mask >> 16)) | (shifted >> 16 & EVENTS));
    update(pm);
}

void pm_press_power_button(struct pm *pm)
{
    pm->button = PM_POWER_BUTTON_EVENT;
    update(pm);
}

static u64 read_timer(void *device, u64 offset, u8 bytes)
{
    (void)bytes;
    return (u32)tick_now(device) >> 8 * offset;
}

static void write_timer(void *device, u64 offset, u8 bytes, u64 value)
{
    (void)device;
    (void)offset;
    (void)bytes;
    (void)value;
}

static const struct bus_ops event_ops = {read_event, write_event};
static const struct bus_ops timer_ops = {read_timer, write_timer};

enum status pm_init(struct pm *pm, struct bus *bus, struct vtimer_set *timers, struct line sci)
{
    memset(pm, 0, sizeof *pm);
    pm->timers = timers;
    pm->timer = vtimer_add(timers, fire, pm);
    pm->sci = sci;

    enum status status = bus_add_ports(bus, PM_PORT_EVENT, 4, 4, &event_ops, pm);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, PM_PORT_TIMER, 4, 4, &timer_ops, pm);
    return status;
}

void pm_copy(struct pm *pm, const struct pm *from)
{
    struct pm own = *pm;

    *pm = *from;
    pm->timer = own.timer;
    pm->timers = own.timers;
    pm->sci = own.sci;
}
