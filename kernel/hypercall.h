/*
 * Hypercalls: docs/guest-abi.md, numbers in guests/include/rootlet_abi.h. Knows no VMCS: registers come as values.
 */
#ifndef ROOTLET_KERNEL_HYPERCALL_H
#define ROOTLET_KERNEL_HYPERCALL_H

#include "kernel/vm.h"

struct hypercall {
    u32 number;
    u32 ebx, ecx, edx; /* in; out if `changed` */
    bool changed;
};

/*
 * Executes one call of the running vCPU, on its CPU, with no lock held; returns the status for EAX. Bad numbers, values
 * and pointers are errors for the guest; nothing here can fail for the host.
 */
u32 hypercall_execute(struct vcpu *vcpu, struct hypercall *call);

#endif
