/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access to the current VMCS, typed: vmcs_read(FIELD) yields the field's width, vmcs_write(FIELD, value) accepts only
 * writable fields and values of their width. SDM 3C 30.3 "VMX Instructions": CF or ZF set is failure, which here is a
 * host bug: panic. Runs in VMX root operation with a current VMCS.
 */
#ifndef ROOTLET_VMX_VMCS_H
#define ROOTLET_VMX_VMCS_H

#include "kernel/lib/addr.h"
#include "vmx/fields.h"

NORETURN COLD void vmcs_read_failed(u64 encoding);
NORETURN COLD void vmcs_write_failed(u64 encoding);

#ifndef ROOTLET_HOST_TEST
static ALWAYS_INLINE u64 vmcs_read_raw(u32 encoding)
{
    u64 value;
    asm goto("vmread %1, %0\n\tjbe %l2" : "=&r"(value) : "r"((u64)encoding) : "cc" : failed);
    return value;
failed:
    vmcs_read_failed(encoding);
}

/* The same, to memory. */
static ALWAYS_INLINE void vmcs_store_raw(u32 encoding, u64 *to)
{
    asm goto("vmread %1, %0\n\tjbe %l2" : "=m"(*to) : "r"((u64)encoding) : "cc" : failed);
    return;
failed:
    vmcs_read_failed(encoding);
}

/* False if this CPU has no such field; then the VM-instruction error field holds 12. */
static inline MUST_CHECK bool vmcs_try_read(u32 encoding, u64 *value)
{
    asm goto("vmread %1, %0\n\tjbe %l2" : "=&r"(*value) : "r"((u64)encoding) : "cc" : failed);
    return true;
failed:
    return false;
}

static ALWAYS_INLINE void vmcs_write_raw(u32 encoding, u64 value)
{
    asm goto("vmwrite %1, %0\n\tjbe %l2" : : "r"((u64)encoding), "rm"(value) : "cc", "memory" : failed);
    return;
failed:
    vmcs_write_failed(encoding);
}
#else
/* test/fake: the VMCS as an array. */
u64 vmcs_read_raw(u32 encoding);
void vmcs_write_raw(u32 encoding, u64 value);
bool vmcs_try_read(u32 encoding, u64 *value) MUST_CHECK;
static inline void vmcs_store_raw(u32 encoding, u64 *to)
{
    *to = vmcs_read_raw(encoding);
}
#endif

#define VMCS_DEFINE_READ(width, access, type)                                                                          \
    static ALWAYS_INLINE type vmcs_read_##width##_##access(struct vmcs_##width##_##access field)                       \
    {                                                                                                                  \
        u64 value = vmcs_read_raw(field.encoding);                                                                     \
        if (value != (type)value) /* VMREAD clears the bits above the field: no masking is needed */                   \
            __builtin_unreachable();                                                                                   \
        return (type)value;                                                                                            \
    }
#define VMCS_DEFINE_WRITE(width, type)                                                                                 \
    static ALWAYS_INLINE void vmcs_write_##width(struct vmcs_##width##_rw field, type value)                           \
    {                                                                                                                  \
        vmcs_write_raw(field.encoding, value);                                                                         \
    }

VMCS_DEFINE_READ(16, rw, u16)
VMCS_DEFINE_READ(32, rw, u32)
VMCS_DEFINE_READ(32, ro, u32)
VMCS_DEFINE_READ(64, rw, u64)
VMCS_DEFINE_READ(64, ro, u64)
VMCS_DEFINE_READ(nat, rw, u64)
VMCS_DEFINE_READ(nat, ro, u64)
VMCS_DEFINE_WRITE(16, u16)
VMCS_DEFINE_WRITE(32, u32)
VMCS_DEFINE_WRITE(64, u64)
VMCS_DEFINE_WRITE(nat, u64)

/* clang-format off */
#define vmcs_read(field)                                                                                               \
    _Generic((field),                                                                                                  \
        struct vmcs_16_rw: vmcs_read_16_rw,                                                                            \
        struct vmcs_32_rw: vmcs_read_32_rw,                                                                            \
        struct vmcs_32_ro: vmcs_read_32_ro,                                                                            \
        struct vmcs_64_rw: vmcs_read_64_rw,                                                                            \
        struct vmcs_64_ro: vmcs_read_64_ro,                                                                            \
        struct vmcs_nat_rw: vmcs_read_nat_rw,                                                                          \
        struct vmcs_nat_ro: vmcs_read_nat_ro)(field)

#define vmcs_write(field, value)                                                                                       \
    _Generic((field),                                                                                                  \
        struct vmcs_16_rw: vmcs_write_16,                                                                              \
        struct vmcs_32_rw: vmcs_write_32,                                                                              \
        struct vmcs_64_rw: vmcs_write_64,                                                                              \
        struct vmcs_nat_rw: vmcs_write_nat)(field, value)
/* clang-format on */

/* The instructions themselves; false on VMfail. SDM 3C 30.3. */
#ifndef ROOTLET_HOST_TEST
static ALWAYS_INLINE MUST_CHECK bool vmcs_clear(hpa_t region)
{
    bool failed;
    asm volatile("vmclear %1" : "=@ccbe"(failed) : "m"(region.raw) : "memory");
    return !failed;
}

static ALWAYS_INLINE MUST_CHECK bool vmcs_load(hpa_t region)
{
    bool failed;
    asm volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(region.raw) : "memory");
    return !failed;
}
#else
bool vmcs_clear(hpa_t region) MUST_CHECK;
bool vmcs_load(hpa_t region) MUST_CHECK;
#endif
/* The current VMCS, VMCS_NONE if there is none: VMPTRST. */
hpa_t vmcs_current(void);
#define VMCS_NONE UINT64_MAX
bool vmx_on(hpa_t region) MUST_CHECK;
bool vmx_off(void) MUST_CHECK;
/* The types that INVEPT and INVVPID have in common; which of them the CPU has, IA32_VMX_EPT_VPID_CAP says. */
enum vmx_invalidate { VMX_SINGLE_CONTEXT = 1, VMX_ALL_CONTEXTS = 2 };
#ifndef ROOTLET_HOST_TEST
/* The descriptor in memory, the type in a register. */
struct invalidate_descriptor {
    u64 first;
    u64 second;
};

static ALWAYS_INLINE MUST_CHECK bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer)
{
    struct invalidate_descriptor descriptor = {ept_pointer, 0};
    bool failed;
    asm volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"((u64)type) : "memory");
    return !failed;
}

static ALWAYS_INLINE MUST_CHECK bool vmx_invvpid(enum vmx_invalidate type, u16 vpid)
{
    struct invalidate_descriptor descriptor = {vpid, 0};
    bool failed;
    asm volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"((u64)type) : "memory");
    return !failed;
}
#else
bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer) MUST_CHECK;
bool vmx_invvpid(enum vmx_invalidate type, u16 vpid) MUST_CHECK;
#endif

#endif
