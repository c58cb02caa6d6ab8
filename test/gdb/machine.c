/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two VMs in the hypervisor's own structures, for the GDB commands of tools/gdb/rootlet.py, which are shown here
 * without a machine that has VMX and a debugger's stub. GDB stops at machine_ready().
 */
#include <string.h>

#include "kernel/vm/life.h"
#include "kernel/vm/vm.h"
#include "vmx/vcpu.h"

static struct life *lives;
static struct life first_life, second_life;
static struct vm first, second;
static struct vmx_vcpu vcpus[3];

void machine_ready(void);
__attribute__((noinline)) void machine_ready(void)
{
    __asm__ volatile("" : : "r"(lives) : "memory");
}

static void fill(struct vm *vm, const char *name, u32 cpus, struct vmx_vcpu *first_vcpu)
{
    strcpy(vm->spec.name, name);
    vm->spec.kind = IMAGE_LINUX;
    vm->spec.mem_bytes = MIB(64);
    vm->spec.cpus = cpus;
    vm->vcpus_live = cpus;
    for (u32 i = 0; i < cpus; i++) {
        vm->vcpus[i] = &first_vcpu[i].base;
        first_vcpu[i].base.vm = vm;
        first_vcpu[i].base.index = i;
    }
}

int main(void)
{
    fill(&first, "debian", 2, vcpus);
    fill(&second, "hello", 1, vcpus + 2);
    first_life.vm = &first;
    second_life.vm = &second;
    first_life.next = &second_life;
    lives = &first_life;

    struct vcpu *running = &vcpus[0].base;
    running->started = 1;
    running->state = VCPU_RUNNING;
    running->home_cpu = 1;
    running->requests = VCPU_REQUEST_EVENT | VCPU_REQUEST_INIT;
    running->run_tsc = 123456;
    vcpus[0].exits[30] = 500;
    vcpus[0].exits[10] = 20;
    vcpus[0].exits[52] = 7;
    vcpus[0].exits[1] = 1;
    vcpus[1].base.home_cpu = VCPU_NO_CPU;
    vcpus[2].base.started = 1;
    vcpus[2].base.state = VCPU_STOPPED;
    second.reason = VM_STOP_TRIPLE_FAULT;
    second.vcpus_live = 0;
    machine_ready();
    return 0;
}
