/*
 * Making a vCPU the one that this CPU holds: current VMCS, host state of this CPU, registers that no VMCS field
 * switches.
 */
#ifndef ROOTLET_VMX_LOAD_H
#define ROOTLET_VMX_LOAD_H

#include "vmx/vcpu.h"

/* Loads v on this CPU (a cheap no-op if it is the one that ran here last). */
void vmx_load(struct vmx_vcpu *v);
/* Guest memory or an EPT has been freed: every CPU flushes its EPT translations before it enters a guest again. */
void vmx_invalidate_ept_everywhere(void);

#endif
