/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of commands, and those that concern the monitor itself.
 */
#include "kernel/monitor/commands.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"

static void say_what_it_does(const struct monitor_call *call, const struct command *command)
{
    const char *blank = command->usage[0] ? " " : "";

    if (call->words.pairs)
        log_event("command name=%s usage=\"%s%s%s\" does=\"%s\"", command->name, command->name, blank, command->usage,
                  command->does);
    else
        log_event("%s%s%s: %s", command->name, blank, command->usage, command->does);
}

static enum command_progress help(struct monitor_call *call)
{
    if (call->words.count) {
        const struct command *command = command_find(commands_table, commands_count, call->words.word[0]);
        if (!command)
            return monitor_fail(call, "%.40s: no such command; help lists them", call->words.word[0]);
        say_what_it_does(call, command);
        return COMMAND_DONE;
    }
    say_what_it_does(call, &commands_table[call->step++]);
    return call->step < commands_count ? COMMAND_GOES_ON : COMMAND_DONE;
}

static enum command_progress leave(struct monitor_call *call)
{
    (void)call;
    monitor_close();
    return COMMAND_DONE;
}

static enum command_progress loglevel(struct monitor_call *call)
{
    static const char *const levels[] = {
        [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

    for (u32 i = 0; i < ARRAY_SIZE(levels); i++) {
        if (string_equal(call->words.word[0], levels[i])) {
            log_set_level((enum log_level)i);
            return COMMAND_DONE;
        }
    }
    return monitor_fail(call, "loglevel %.40s: give error, warn, info or debug", call->words.word[0]);
}

/* clang-format off */
const struct command commands_table[] = {
    {"caps", "",
     "what VMX this machine has, and what of it is used",
     0, 0, COMMAND_TAKES_NOTHING, false, commands_caps},
    {"clone", "VM NEW [NAME]",
     "another VM that begins as the VM's last snapshot, or the one of that name",
     2, 3, COMMAND_TAKES_VM, false, commands_clone},
    {"console", "VM",
     "connects the terminal to its serial port until the monitor's key is typed",
     1, 1, COMMAND_TAKES_VM, false, commands_console},
    {"cpus", "",
     "a line for each CPU",
     0, 0, COMMAND_TAKES_NOTHING, false, commands_cpus},
    {"forget", "VM NAME",
     "drops that snapshot of it",
     2, 2, COMMAND_TAKES_VM, false, commands_forget},
    {"help", "[COMMAND]",
     "a line for each command, or one's usage",
     0, 1, COMMAND_TAKES_COMMAND, false, help},
    {"info", "VM",
     "its configuration, memory, vCPUs and devices",
     1, 1, COMMAND_TAKES_VM, false, commands_info},
    {"kill", "VM",
     "ends it at once",
     1, 1, COMMAND_TAKES_VM, false, commands_kill},
    {"leave", "",
     "closes the monitor",
     0, 0, COMMAND_TAKES_NOTHING, false, leave},
    {"list", "",
     "a line for each VM",
     0, 0, COMMAND_TAKES_NOTHING, false, commands_list},
    {"log", "VM [LINES]",
     "what it printed lately",
     1, 2, COMMAND_TAKES_VM, false, commands_log},
    {"loglevel", "error|warn|info|debug",
     "how much is logged from now on",
     1, 1, COMMAND_TAKES_NOTHING, false, loglevel},
    {"mem", "VM ADDRESS [LENGTH]",
     "its memory, by guest-physical address",
     2, 3, COMMAND_TAKES_VM, false, commands_mem},
    {"modules", "",
     "the boot loader's modules, of which VMs can be made",
     0, 0, COMMAND_TAKES_NOTHING, false, commands_modules},
    {"nmi", "VM",
     "an NMI for its first vCPU",
     1, 1, COMMAND_TAKES_VM, false, commands_nmi},
    {"pause", "VM",
     "its vCPUs stand still",
     1, 1, COMMAND_TAKES_VM, false, commands_pause},
    {"poweroff", "[-t MS]",
     "stops all VMs in order, then the machine",
     0, 2, COMMAND_TAKES_NOTHING, false, commands_poweroff},
    {"reboot", "[-t MS]",
     "likewise, and starts the machine again",
     0, 2, COMMAND_TAKES_NOTHING, false, commands_reboot},
    {"regs", "VM [VCPU]",
     "the registers of a vCPU",
     1, 2, COMMAND_TAKES_VM, false, commands_regs},
    {"restart", "VM",
     "ends it, if it runs, and starts it again",
     1, 1, COMMAND_TAKES_VM, false, commands_restart},
    {"restore", "VM [NAME]",
     "goes back to its last snapshot, or the one of that name, also after its end",
     1, 2, COMMAND_TAKES_VM, false, commands_restore},
    {"resume", "VM",
     "a paused one goes on",
     1, 1, COMMAND_TAKES_VM, false, commands_resume},
    {"screen", "VM",
     "its text page",
     1, 1, COMMAND_TAKES_VM, false, commands_screen},
    {"set", "VM weight|cap|affinity|limit VALUE",
     "changes a key of its line at run time",
     3, 3, COMMAND_TAKES_VM, false, commands_set},
    {"snapshot", "VM [NAME]",
     "keeps its state in RAM",
     1, 2, COMMAND_TAKES_VM, false, commands_snapshot},
    {"snapshots", "",
     "a line for each snapshot",
     0, 0, COMMAND_TAKES_NOTHING, false, commands_snapshots},
    {"start", "NAME MODULE [KEYS] [-- WORDS]",
     "a VM out of a module, which modules lists",
     2, 20, COMMAND_TAKES_VM, true, commands_start},
    {"stats", "[VM] [-w SECONDS]",
     "what it costs; -w: again and again until a key is typed",
     0, 3, COMMAND_TAKES_VM, false, commands_stats},
    {"stop", "VM [-t MS]",
     "presses its power button; -t: waits so long, then ends it",
     1, 3, COMMAND_TAKES_VM, false, commands_stop},
    {"trace", "[VM] [N]",
     "the last records of the flight recorder",
     0, 2, COMMAND_TAKES_VM, false, commands_trace},
    {"vmcs", "VM [VCPU]",
     "the VMCS of a vCPU",
     1, 2, COMMAND_TAKES_VM, false, commands_vmcs},
    {"vmx", "off|on CPU",
     "a CPU leaves VMX operation, or enters it again",
     2, 2, COMMAND_TAKES_NOTHING, false, commands_vmx},
};
/* clang-format on */
const u32 commands_count = ARRAY_SIZE(commands_table);
