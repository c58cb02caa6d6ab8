/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looks for the monitor. Another VMCS than the current one is made current for a moment: whoever is in an exit here
 * finds his own again. SDM 3C 24.1 "Overview".
 */
#include "kernel/virt_look.h"
#include "kernel/lib/format.h"
#include "kernel/panic.h"
#include "vmx/check/check.h"
#include "vmx/report/caps.h"
#include "vmx/report/debug.h"

_Static_assert(CHECK_FIELDS <= VIRT_LOOK_FIELDS, "all fields have room");
_Static_assert(EXIT_REASONS == VIRT_LOOK_REASONS, "the reasons are those that are counted");

static bool look(struct vcpu *vcpu, void (*read)(const struct vmx_vcpu *v, void *to), void *to)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    hpa_t before = vmcs_current();

    if (!v->configured)
        return false;
    if (before.raw == v->vmcs.raw) {
        read(v, to);
        return true;
    }
    CHECK(vmcs_load(v->vmcs));
    read(v, to);
    if (v->active_cpu == VCPU_NO_CPU) /* as it was */
        CHECK(vmcs_clear(v->vmcs));
    if (before.raw != VMCS_NONE)
        CHECK(vmcs_load(before));
    return true;
}

static void read_registers(const struct vmx_vcpu *v, void *to)
{
    vmx_debug_read(v, to);
}

bool virt_look_registers(struct vcpu *vcpu, struct debug_registers *out)
{
    return look(vcpu, read_registers, out);
}

/* A VMREAD of a field that does not exist would change the VM-instruction error. */
static void read_fields(const struct vmx_vcpu *v, void *to)
{
    u64 *values = to;

    (void)v;
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if (!check_field_exists(row, &vmx_features.caps) || !vmcs_try_read(check_field_encoding(row), &values[row]))
            values[row] = 0;
}

bool virt_look_vmcs(struct vcpu *vcpu, u64 values[VIRT_LOOK_FIELDS])
{
    return look(vcpu, read_fields, values);
}

bool virt_look_field(u32 n, const u64 values[VIRT_LOOK_FIELDS], char text[VIRT_LOOK_BYTES])
{
    char words[VIRT_LOOK_BYTES - 70];

    if (n >= CHECK_FIELDS)
        return false;
    text[0] = 0;
    if (!check_field_exists(n, &vmx_features.caps))
        return true;
    size_t used = format_text(text, VIRT_LOOK_BYTES, "%s=0x%lx", check_field_name(n), values[n]);
    if (check_format_names(n, values[n], words, sizeof words))
        format_text(text + used, VIRT_LOOK_BYTES - used, " bits=\"%s\"", words);
    return true;
}

u64 virt_look_exits(const struct vm *vm, u32 reason)
{
    u64 sum = 0;

    for (u32 i = 0; i < vm->spec.cpus; i++)
        sum += vmx_vcpu_of(vm->vcpus[i])->exits[reason];
    return sum;
}

void virt_look_caps(void (*print)(const char *line))
{
    struct vmx_caps_raw raw;

    vmx_caps_read(&raw);
    vmx_caps_report(&raw, vmx_features.disabled, vmx_features.withheld, print);
}
