/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's own parser as a host program, for tools/mkiso. Standard input has the hypervisor's command line, then
 * each module's line as the boot loader hands it over. For each of them one line of output: "bad WHY", or "ok VM
 * ROLE" for a module, and "ok OPTION=VM..." for the command line, with each option that names a VM.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/spec.h"
#include "vmx/caps.h"

static void answer_options(const char *line)
{
    struct host_options options;
    struct vmx_caps caps = {0}; /* every optional feature has a name there, whether a CPU has it or not */
    struct refusal why;

    if (host_options_parse(line, &options, &why) != STATUS_OK ||
        vmx_caps_disable(&caps, options.vmx_disable, &why) != STATUS_OK)
        printf("bad %s\n", why.text);
    else
        printf("ok%s%s%s%s\n", options.console_input[0] ? " console.input=" : "", options.console_input,
               options.gdb[0] ? " gdb=" : "", options.gdb);
}

static void answer_module(const char *line)
{
    static const char *const roles[] = {
        [VM_ROLE_BOOT] = "boot", [VM_ROLE_INITRD] = "initrd", [VM_ROLE_MODULE] = "module"};
    struct vm_spec spec;
    struct refusal why;

    if (vm_spec_parse(line, &spec, &why) != STATUS_OK)
        printf("bad %s\n", why.text);
    else
        printf("ok %s %s\n", spec.name, roles[spec.role]);
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;

    for (unsigned number = 0; getline(&line, &size, stdin) > 0; number++) {
        line[strcspn(line, "\n")] = 0;
        if (number == 0)
            answer_options(line);
        else
            answer_module(line);
    }
    free(line);
    return 0;
}
