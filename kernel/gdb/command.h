/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * GDB's commands: one packet in, one reply out, on a target of which only operations are known. Pure. The target is
 * stopped while a command runs; threads are numbered from 1 (vCPU n is thread n + 1).
 * GDB manual, E.2 "Packets", E.4 "General Query Packets", E.3 "Stop Reply Packets".
 */
#ifndef ROOTLET_KERNEL_GDB_COMMAND_H
#define ROOTLET_KERNEL_GDB_COMMAND_H

#include "kernel/gdb/packet.h"
#include "kernel/gdb/registers.h"

enum gdb_stop_kind {
    GDB_STOP_TRAP,      /* a step is done, or the debugger has just come */
    GDB_STOP_INTERRUPT, /* Ctrl-C */
    GDB_STOP_SOFTWARE,  /* breakpoint in memory */
    GDB_STOP_HARDWARE,  /* breakpoint register */
    GDB_STOP_WRITE,     /* watchpoints, by what they watch for */
    GDB_STOP_READ,
    GDB_STOP_ACCESS,
    GDB_STOP_EXITED,    /* the VM has ended, `value` is its status */
    GDB_STOP_SIGNALLED, /* ... badly; `value` is the signal that says so to GDB */
};

struct gdb_stop {
    enum gdb_stop_kind kind;
    u32 thread;
    u64 value; /* watchpoints: the address */
};

/* As in Z packets. */
enum gdb_point {
    GDB_POINT_SOFTWARE,
    GDB_POINT_HARDWARE,
    GDB_POINT_WRITE,
    GDB_POINT_READ,
    GDB_POINT_ACCESS,
    GDB_POINTS
};

enum gdb_action { GDB_ACTION_STAY, GDB_ACTION_CONTINUE, GDB_ACTION_STEP };

struct gdb_resume {
    u8 actions[VM_MAX_VCPUS]; /* by thread - 1 */
    u8 others;                /* of threads that are yet to come */
    u64 start, end;           /* a step ends outside of this range of PC; after one instruction if it is empty */
};

struct gdb_ops {
    u32 threads;                  /* the highest number */
    bool (*is_alive)(u32 thread); /* of 1..threads */
    struct debug_registers *(*registers)(u32 thread);
    const char *(*describe)(u32 thread); /* in a few words */
    /* Memory as the thread sees it. Returns how many bytes could be read, from the first on. */
    size_t (*read)(u32 thread, u64 address, u8 *bytes, size_t count);
    bool (*write)(u32 thread, u64 address, const u8 *bytes, size_t count); /* false: not all of it is memory */
    bool (*insert)(u32 thread, enum gdb_point point, u64 address, u64 bytes);
    bool (*remove)(enum gdb_point point, u64 address, u64 bytes);
    void (*remove_all)(void);
    void (*resume)(const struct gdb_resume *resume);
    void (*detach)(void); /* lets everything run, for good */
    void (*kill)(void);
};

struct gdb_session {
    const struct gdb_ops *ops;
    enum gdb_arch arch;
    bool no_ack; /* the line is reliable: neither side acknowledges */
    bool knows_swbreak, knows_hwbreak;
    bool attached;        /* from the first command to detach or kill */
    u32 thread;           /* Hg: whose registers and memory */
    u32 thread_to_run;    /* Hc; 0: any */
    u32 listed;           /* threads that qfThreadInfo has told of */
    struct gdb_stop stop; /* the last one */
    struct gdb_reader reader;
    struct gdb_writer reply;
};

/* `text` in session->reply, as GDB prints it while the target runs. GDB manual, E.3 "Stop Reply Packets", O. */
void gdb_command_say(struct gdb_session *session, const char *text);
/* `arch` may be changed before any command that begins a session: qSupported. */
void gdb_command_init(struct gdb_session *session, const struct gdb_ops *ops);
/* Runs the packet in session->reader. True: session->reply is to be sent; false: no reply, or not yet. */
bool gdb_command_run(struct gdb_session *session) MUST_CHECK;
/* The target has stopped: notes it and makes the reply that GDB waits for. */
void gdb_command_stopped(struct gdb_session *session, const struct gdb_stop *stop);

#endif
