/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parsed configuration: the hypervisor's own command line and each module's line (docs/running.md). Pure functions
 * of text; every value is checked here, once.
 */
#ifndef ROOTLET_KERNEL_VM_SPEC_H
#define ROOTLET_KERNEL_VM_SPEC_H

#include "kernel/lib/status.h"
#include "kernel/log.h"

#define VM_NAME_BYTES     32 /* with the NUL: names have 1 to 31 characters of [A-Za-z0-9._-] */
#define VM_MAX_VCPUS      16
#define VM_DEFAULT_WEIGHT 100
#define VM_DEFAULT_MEM    0x800000ull
#define VM_LIMIT_NONE     0ull

enum image_kind { IMAGE_AUTO, IMAGE_FLAT16, IMAGE_MULTIBOOT, IMAGE_MULTIBOOT2, IMAGE_LINUX, IMAGE_PVH };
enum vm_role { VM_ROLE_BOOT, VM_ROLE_MODULE, VM_ROLE_INITRD };
enum vm_dump { VM_DUMP_NONE, VM_DUMP_REGS, VM_DUMP_SCREEN, VM_DUMP_VMCS };

/* Whether a VM starts again when it has ended; ON_FAILURE: not if it ended well. */
enum vm_restart { VM_RESTART_NEVER, VM_RESTART_ON_FAILURE, VM_RESTART_ALWAYS };

/* Whether the CPU's virtual-interrupt delivery serves the VM's local APICs; AUTO: where it is there and sound. */
enum vm_apicv { VM_APICV_AUTO, VM_APICV_ON, VM_APICV_OFF };

struct vm_spec {
    char name[VM_NAME_BYTES]; /* "" if the line has no usable vm= */
    enum vm_role role;
    enum image_kind kind;
    u64 mem_bytes;
    u32 cpus;
    u32 weight;      /* 1..10000 */
    u32 cap_percent; /* 1..1600; 0: no cap */
    u64 affinity;    /* bit n: CPU n may run it; all ones by default */
    u64 limit_ms;    /* run time, VM_LIMIT_NONE: none */
    enum vm_dump dump;
    bool stealth;
    bool nested;  /* the guest has VMX, to be a hypervisor itself */
    bool explain; /* why its VM entries are refused is printed */
    bool com2;    /* console=com2 */
    enum vm_apicv apicv;
    enum vm_restart restart;
    u32 restarts;         /* at most so many; 0: no bound */
    u32 watchdog_ms;      /* run time without a sign of life after which it is hung; 0: nobody looks */
    bool has_snapshot_at; /* the first hypercall with the next number is followed by a snapshot */
    u32 snapshot_at;
    const char *guest_command_line; /* what follows " -- ", "" if nothing; points into the parsed line */
};

/*
 * Parses one module line. A line without vm=, an unknown or repeated key, a value that is not one of those accepted or
 * out of range: STATUS_INVALID with *why naming the key and the accepted values. name is filled in even then, if the
 * line has a usable one, so that the refusal can name the VM. With role other than boot, only vm= and role= may stand
 * before " -- ".
 */
COLD enum status vm_spec_parse(const char *line, struct vm_spec *out, struct refusal *why) MUST_CHECK;

/*
 * The keys in `words`, and what follows " -- ", in place of those of *spec; not vm= and role=. As vm_spec_parse, but
 * *spec is then good for nothing. It points into `words` if there is a " -- ".
 */
COLD enum status vm_spec_amend(const char *words, struct vm_spec *spec, struct refusal *why) MUST_CHECK;
/* A key that can be changed while the VM runs: weight, cap, affinity, limit. cap=none and limit=none: no more. */
COLD enum status vm_spec_set(const char *key, const char *value, struct vm_spec *spec, struct refusal *why) MUST_CHECK;

enum trace_to { TRACE_TO_NOBODY, TRACE_TO_SERIAL, TRACE_TO_COM2 };

/* Whether a key at the console opens the monitor; START: it is open from the first. */
enum monitor_mode { MONITOR_ON, MONITOR_OFF, MONITOR_START };
#define MONITOR_KEY 0x1du /* Ctrl-] */

enum console_port { CONSOLE_ANY, CONSOLE_COM1, CONSOLE_SPCR, CONSOLE_PCI };

/* Sibling threads of a core: any vCPUs, vCPUs of one VM, or left out. AUTO: CORE where the CPU is affected. */
enum host_smt { SMT_AUTO, SMT_SHARE, SMT_CORE, SMT_OFF };

struct host_options {
    enum log_level log;
    char vmx_disable[160]; /* the comma-separated list as written; vmx/ checks the names */
    enum console_port console;
    bool dma_keep;                     /* bus masters that firmware left running stay so */
    char console_input[VM_NAME_BYTES]; /* the VM that gets what is typed, "" if none */
    enum trace_to trace;               /* where the flight recorder is printed at the end */
    char gdb[VM_NAME_BYTES];           /* the VM that is debugged through COM2, "" if none */
    bool gdb_nowait;                   /* it starts without waiting for the debugger */
    u32 gdb_bits;                      /* 32 or 64: the registers that GDB is told of; 0: by the mode it finds */
    enum host_smt smt;
    bool mitigations;  /* of what CPUs get wrong, where they cost something */
    bool idle_monitor; /* the machine stays, with the monitor open, when the last VM has ended */
    enum monitor_mode monitor;
    u8 monitor_key; /* a control character */
    char test[32];  /* a fault for the test-suite to provoke, "" if none */
};

/*
 * Parses the hypervisor's command line (keys log=, idle=, vmx.disable=, console=, console.input=, dma=, trace=, gdb=,
 * smt=, mitigations=, monitor=, monitor.key=, test=). Unknown or bad options: STATUS_INVALID with *why; all good ones
 * are still taken, so that the machine can boot and report.
 */
COLD enum status host_options_parse(const char *line, struct host_options *out, struct refusal *why) MUST_CHECK;

/* Whether a VM may be called so. */
COLD bool vm_spec_is_name(const char *text);
const char *image_kind_name(enum image_kind kind);

#endif
