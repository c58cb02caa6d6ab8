/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SMBIOS structures that a guest finds: which machine it runs on, by name and UUID, its processor and its memory.
 */
#ifndef ROOTLET_KERNEL_VM_SMBIOS_H
#define ROOTLET_KERNEL_VM_SMBIOS_H

#include "kernel/vm/memory.h"
#include "kernel/vm/spec.h"

#define GUEST_UUID_BYTES 16

/*
 * Writes both entry points and the structures. STATUS_OUT_OF_RANGE: `memory` has no firmware area.
 */
COLD enum status guest_smbios_install(const struct guest_memory *memory, const struct vm_spec *spec) MUST_CHECK;
/* The UUID of a VM, made from its name: the same in each run, and another for another name. In SMBIOS's byte order. */
COLD void guest_smbios_uuid(const char *name, u8 uuid[GUEST_UUID_BYTES]);

#endif
