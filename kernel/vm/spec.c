/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration parser: words of the form key=value, two tables of keys (module lines, the hypervisor's own line),
 * one walk for both. Pure; a line may hold any bytes but NUL. Every refusal names the key and what it accepts.
 */
#include "kernel/vm/spec.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/vm/hypercall.h"
#include "kernel/vm/memory.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define CPU_LIST_MAX 64u /* bits of an affinity mask */
#define LIMIT_MS_MAX 0xffffffffull
#define QUOTE_MAX    48u /* how much of a foreign text a refusal repeats */

struct text {
    const char *start;
    size_t length;
};

struct key {
    const char *name;
    bool (*take)(struct text value, void *target); /* false: not an accepted value */
    const char *accepted;
};

struct key_table {
    const struct key *keys;
    u32 count;
    const char *names; /* all of them, for the refusal of an unknown one */
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool text_is(struct text text, const char *word)
{
    return text.length == string_length(word) && memcmp(text.start, word, text.length) == 0;
}

/* The precision for "%.*s". */
static int quoted(struct text text)
{
    return (int)(text.length < QUOTE_MAX ? text.length : QUOTE_MAX);
}

/* The next word at or after *line, which is moved behind it; length 0 at the end. */
static struct text next_word(const char **line)
{
    struct text word;

    while (is_space(**line))
        (*line)++;
    word.start = *line;
    while (**line && !is_space(**line))
        (*line)++;
    word.length = (size_t)(*line - word.start);
    return word;
}

static bool take_number(struct text value, u64 low, u64 high, u64 *out)
{
    u64 number;
    if (!string_to_number(value.start, value.length, &number) || number < low || number > high)
        return false;
    *out = number;
    return true;
}

static bool take_u32(struct text value, u32 low, u32 high, u32 *out)
{
    u64 number;
    if (!take_number(value, low, high, &number))
        return false;
    *out = (u32)number;
    return true;
}

/* The index of value among `count` words, or -1. */
static int find_word(struct text value, const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (text_is(value, words[i]))
            return i;
    return -1;
}

static bool copy_name(struct text value, char *to)
{
    if (value.length == 0 || value.length >= VM_NAME_BYTES)
        return false;
    for (size_t i = 0; i < value.length; i++) {
        char c = value.start[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '.' && c != '_' && c != '-')
            return false;
    }
    memcpy(to, value.start, value.length);
    to[value.length] = 0;
    return true;
}

bool vm_spec_is_name(const char *text)
{
    char copy[VM_NAME_BYTES];

    return copy_name((struct text){text, string_length(text)}, copy);
}

static bool take_name(struct text value, void *target)
{
    return copy_name(value, ((struct vm_spec *)target)->name);
}

static bool take_role(struct text value, void *target)
{
    static const char *const words[] = {
        [VM_ROLE_BOOT] = "boot", [VM_ROLE_INITRD] = "initrd", [VM_ROLE_MODULE] = "module"};
    struct vm_spec *spec = target;
    int role = find_word(value, words, ARRAY_SIZE(words));
    spec->role = role >= 0 ? (enum vm_role)role : VM_ROLE_MODULE; /* a bad line must not count as its VM's boot image */
    return role >= 0;
}

static const char *const image_kinds[] = {
    [IMAGE_AUTO] = "auto",           [IMAGE_FLAT16] = "flat16",
    [IMAGE_MULTIBOOT] = "multiboot", [IMAGE_MULTIBOOT2] = "multiboot2",
    [IMAGE_LINUX] = "linux",         [IMAGE_PVH] = "pvh",
};

const char *image_kind_name(enum image_kind kind)
{
    return image_kinds[kind];
}

static bool take_kind(struct text value, void *target)
{
    struct vm_spec *spec = target;
    int kind = find_word(value, image_kinds, ARRAY_SIZE(image_kinds));
    if (kind >= 0)
        spec->kind = (enum image_kind)kind;
    return kind >= 0;
}

static bool take_mem(struct text value, void *target)
{
    struct vm_spec *spec = target;
    unsigned shift = 0;
    u64 number;

    if (value.length == 0)
        return false;
    char suffix = (char)(value.start[value.length - 1] | 0x20);
    if (suffix == 'k')
        shift = 10;
    else if (suffix == 'm')
        shift = 20;
    else if (suffix == 'g')
        shift = 30;
    if (shift)
        value.length--;
    if (!take_number(value, 1, GUEST_MEM_MAX_BYTES >> shift, &number))
        return false;
    spec->mem_bytes = number << shift;
    return spec->mem_bytes >= GUEST_MEM_MIN_BYTES && bits_is_aligned(spec->mem_bytes, FRAME_BYTES);
}

static bool take_cpus(struct text value, void *target)
{
    return take_u32(value, 1, VM_MAX_VCPUS, &((struct vm_spec *)target)->cpus);
}

static bool take_weight(struct text value, void *target)
{
    return take_u32(value, 1, 10000, &((struct vm_spec *)target)->weight);
}

static bool take_cap(struct text value, void *target)
{
    return take_u32(value, 1, 1600, &((struct vm_spec *)target)->cap_percent);
}

static bool take_limit(struct text value, void *target)
{
    return take_number(value, 1, LIMIT_MS_MAX, &((struct vm_spec *)target)->limit_ms);
}

/* One element of a CPU list: n or n-m. */
static bool take_cpu_range(struct text range, u64 *mask)
{
    size_t dash = 0;
    u64 first, last;

    while (dash < range.length && range.start[dash] != '-')
        dash++;
    if (!take_number((struct text){range.start, dash}, 0, CPU_LIST_MAX - 1, &first))
        return false;
    last = first;
    if (dash < range.length &&
        !take_number((struct text){range.start + dash + 1, range.length - dash - 1}, first, CPU_LIST_MAX - 1, &last))
        return false;
    for (u64 cpu = first; cpu <= last; cpu++)
        *mask |= BIT(cpu);
    return true;
}

static bool take_affinity(struct text value, void *target)
{
    u64 mask = 0;
    size_t begin = 0;

    for (size_t i = 0; i <= value.length; i++) {
        if (i < value.length && value.start[i] != ',')
            continue;
        if (!take_cpu_range((struct text){value.start + begin, i - begin}, &mask))
            return false;
        begin = i + 1;
    }
    ((struct vm_spec *)target)->affinity = mask;
    return true;
}

static bool take_dump(struct text value, void *target)
{
    static const char *const words[] = {
        [VM_DUMP_NONE] = "none", [VM_DUMP_REGS] = "regs", [VM_DUMP_SCREEN] = "screen", [VM_DUMP_VMCS] = "vmcs"};
    struct vm_spec *spec = target;
    int dump = find_word(value, words, ARRAY_SIZE(words));
    if (dump >= 0)
        spec->dump = (enum vm_dump)dump;
    return dump >= 0;
}

static bool take_stealth(struct text value, void *target)
{
    struct vm_spec *spec = target;
    spec->stealth = text_is(value, "on");
    return spec->stealth || text_is(value, "off");
}

static bool take_nested(struct text value, void *target)
{
    struct vm_spec *spec = target;
    spec->nested = text_is(value, "on");
    return spec->nested || text_is(value, "off");
}

static bool take_explain(struct text value, void *target)
{
    struct vm_spec *spec = target;
    spec->explain = !text_is(value, "off");
    return !spec->explain || text_is(value, "on");
}

static bool take_apicv(struct text value, void *target)
{
    static const char *const words[] = {[VM_APICV_AUTO] = "auto", [VM_APICV_ON] = "on", [VM_APICV_OFF] = "off"};
    struct vm_spec *spec = target;
    int apicv = find_word(value, words, ARRAY_SIZE(words));
    if (apicv >= 0)
        spec->apicv = (enum vm_apicv)apicv;
    return apicv >= 0;
}

static bool take_restart(struct text value, void *target)
{
    static const char *const words[] = {
        [VM_RESTART_NEVER] = "never", [VM_RESTART_ON_FAILURE] = "on-failure", [VM_RESTART_ALWAYS] = "always"};
    struct vm_spec *spec = target;
    int restart = find_word(value, words, ARRAY_SIZE(words));
    if (restart >= 0)
        spec->restart = (enum vm_restart)restart;
    return restart >= 0;
}

static bool take_restarts(struct text value, void *target)
{
    return take_u32(value, 1, UINT32_MAX, &((struct vm_spec *)target)->restarts);
}

static bool take_watchdog(struct text value, void *target)
{
    return take_u32(value, 1, UINT32_MAX, &((struct vm_spec *)target)->watchdog_ms);
}

/* Not exit, snapshot and restore: after them there is nothing to keep, or it is kept already. */
static bool take_snapshot_at(struct text value, void *target)
{
    static const char *const words[HYPERCALL_COUNT] = {[ROOTLET_CALL_VERSION] = "version",
                                                       [ROOTLET_CALL_CONSOLE_WRITE] = "console-write",
                                                       [ROOTLET_CALL_YIELD] = "yield",
                                                       [ROOTLET_CALL_CLOCK] = "clock",
                                                       [ROOTLET_CALL_SLEEP_UNTIL] = "sleep-until",
                                                       [ROOTLET_CALL_EXIT] = "",
                                                       [ROOTLET_CALL_IDENTITY] = "identity",
                                                       [ROOTLET_CALL_START_VCPU] = "start-vcpu",
                                                       [ROOTLET_CALL_SNAPSHOT] = "",
                                                       [ROOTLET_CALL_RESTORE] = "",
                                                       [ROOTLET_CALL_REFUSAL] = "refusal"};
    struct vm_spec *spec = target;
    int call = find_word(value, words, ARRAY_SIZE(words));

    spec->has_snapshot_at = true;
    if (call >= 0 && value.length) {
        spec->snapshot_at = (u32)call;
        return true;
    }
    return take_u32(value, 0, UINT32_MAX, &spec->snapshot_at) &&
           (spec->snapshot_at >= HYPERCALL_COUNT || *words[spec->snapshot_at]);
}

static bool take_vm_console(struct text value, void *target)
{
    struct vm_spec *spec = target;
    spec->com2 = text_is(value, "com2");
    return spec->com2 || text_is(value, "com1");
}

enum { KEY_VM, KEY_ROLE }; /* the two that a line with a role may have: the first rows of vm_keys */

static const struct key vm_keys[] = {
    [KEY_VM] = {"vm",          take_name,        "a name of 1 to 31 characters of A-Z a-z 0-9 . _ -"                         },
    [KEY_ROLE] = {"role",        take_role,        "boot, module or initrd"                                                    },
    {"kind",        take_kind,        "auto, flat16, multiboot, multiboot2, linux or pvh"                         },
    {"mem",         take_mem,         "1M (with 640K of RAM) to 64G, a multiple of 4K, such as mem=8M"            },
    {"cpus",        take_cpus,        "1 to 16"                                                                   },
    {"weight",      take_weight,      "1 to 10000"                                                                },
    {"cap",         take_cap,         "1 to 1600 (percent of one CPU)"                                            },
    {"affinity",    take_affinity,    "a list of CPUs from 0 to 63, such as 0-1,3"                                },
    {"limit",       take_limit,       "1 to 4294967295 (run time in ms)"                                          },
    {"dump",        take_dump,        "none, regs, screen or vmcs"                                                },
    {"stealth",     take_stealth,     "on or off"                                                                 },
    {"apicv",       take_apicv,       "auto, on or off"                                                           },
    {"console",     take_vm_console,  "com1 or com2"                                                              },
    {"restart",     take_restart,     "never, on-failure or always"                                               },
    {"restarts",    take_restarts,    "1 to 4294967295 (how often at most)"                                       },
    {"watchdog",    take_watchdog,    "1 to 4294967295 (run time in ms)"                                          },
    {"snapshot-at", take_snapshot_at, "a hypercall, by name or number, that goes on (not exit, snapshot, restore)"},
    {"nested",      take_nested,      "on or off"                                                                 },
    {"explain",     take_explain,     "on or off"                                                                 },
};

static const struct key_table vm_table = {
    vm_keys, ARRAY_SIZE(vm_keys),
    "vm= role= kind= mem= cpus= weight= cap= affinity= limit= dump= stealth= apicv= console= restart= restarts= "
    "watchdog= snapshot-at= nested= explain="};

static bool take_log(struct text value, void *target)
{
    static const char *const words[] = {
        [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
    struct host_options *options = target;
    int level = find_word(value, words, ARRAY_SIZE(words));
    if (level >= 0)
        options->log = (enum log_level)level;
    return level >= 0;
}

static bool take_idle(struct text value, void *target)
{
    struct host_options *options = target;
    options->idle_monitor = text_is(value, "monitor");
    return options->idle_monitor || text_is(value, "poweroff");
}

static bool take_monitor(struct text value, void *target)
{
    static const char *const words[] = {[MONITOR_ON] = "on", [MONITOR_OFF] = "off", [MONITOR_START] = "start"};
    struct host_options *options = target;
    int mode = find_word(value, words, ARRAY_SIZE(words));
    if (mode >= 0)
        options->monitor = (enum monitor_mode)mode;
    return mode >= 0;
}

/* ^A to ^_, but for those that a terminal sends for Tab, Enter and Escape. ASCII: a control character is 64 less. */
static bool take_monitor_key(struct text value, void *target)
{
    struct host_options *options = target;
    char c = value.length ? value.start[value.length - 1] : 0;

    if (value.length == 0 || value.length > 2 || (value.length == 2 && value.start[0] != '^'))
        return false;
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c <= '@' || c > '_' || c == 'I' || c == 'J' || c == 'M' || c == '[')
        return false;
    options->monitor_key = (u8)(c - '@');
    return true;
}

static bool take_console(struct text value, void *target)
{
    static const char *const words[] = {[CONSOLE_COM1] = "com1", [CONSOLE_SPCR] = "spcr", [CONSOLE_PCI] = "pci"};
    struct host_options *options = target;
    int port = find_word(value, words + CONSOLE_COM1, ARRAY_SIZE(words) - CONSOLE_COM1);
    if (port >= 0)
        options->console = (enum console_port)(port + CONSOLE_COM1);
    return port >= 0;
}

static bool take_dma(struct text value, void *target)
{
    struct host_options *options = target;
    options->dma_keep = text_is(value, "keep");
    return options->dma_keep || text_is(value, "stop");
}

static bool take_copy(struct text value, char *to, size_t size)
{
    if (value.length == 0 || value.length >= size)
        return false;
    memcpy(to, value.start, value.length);
    to[value.length] = 0;
    return true;
}

static bool take_vmx_disable(struct text value, void *target)
{
    struct host_options *options = target;
    return take_copy(value, options->vmx_disable, sizeof options->vmx_disable);
}

static bool take_console_input(struct text value, void *target)
{
    return copy_name(value, ((struct host_options *)target)->console_input);
}

static bool take_trace(struct text value, void *target)
{
    struct host_options *options = target;

    options->trace = text_is(value, "serial") ? TRACE_TO_SERIAL
                     : text_is(value, "com2") ? TRACE_TO_COM2
                                              : TRACE_TO_NOBODY;
    return options->trace != TRACE_TO_NOBODY;
}

/* NAME[,nowait][,32|,64] */
static bool take_gdb(struct text value, void *target)
{
    struct host_options *options = target;
    struct text word = {value.start, 0};

    for (size_t i = 0; i <= value.length; i++) {
        if (i < value.length && value.start[i] != ',')
            continue;
        word.length = (size_t)(value.start + i - word.start);
        if (word.start == value.start) {
            if (!copy_name(word, options->gdb))
                return false;
        } else if (text_is(word, "nowait")) {
            options->gdb_nowait = true;
        } else if (text_is(word, "32") || text_is(word, "64")) {
            options->gdb_bits = word.start[0] == '3' ? 32 : 64;
        } else {
            options->gdb[0] = 0;
            return false;
        }
        word.start = value.start + i + 1;
    }
    return true;
}

static bool take_smt(struct text value, void *target)
{
    struct host_options *options = target;
    options->smt = text_is(value, "share")  ? SMT_SHARE
                   : text_is(value, "core") ? SMT_CORE
                   : text_is(value, "off")  ? SMT_OFF
                                            : SMT_AUTO;
    return options->smt != SMT_AUTO;
}

static bool take_mitigations(struct text value, void *target)
{
    struct host_options *options = target;
    options->mitigations = !text_is(value, "off"); /* on after a bad value, too */
    return !options->mitigations || text_is(value, "auto");
}

static bool take_test(struct text value, void *target)
{
    struct host_options *options = target;
    return take_copy(value, options->test, sizeof options->test);
}

static const struct key host_keys[] = {
    {"log",           take_log,           "error, warn, info or debug"                             },
    {"idle",          take_idle,          "poweroff or monitor"                                    },
    {"vmx.disable",   take_vmx_disable,   "a comma-separated list of at most 159 characters"       },
    {"console",       take_console,       "com1, spcr or pci"                                      },
    {"console.input", take_console_input, "the name of a VM"                                       },
    {"dma",           take_dma,           "stop or keep"                                           },
    {"trace",         take_trace,         "serial or com2"                                         },
    {"gdb",           take_gdb,           "the name of a VM, then ,nowait and ,32 or ,64 if wanted"},
    {"smt",           take_smt,           "share, core or off"                                     },
    {"mitigations",   take_mitigations,   "auto or off"                                            },
    {"monitor",       take_monitor,       "on, off or start"                                       },
    {"monitor.key",   take_monitor_key,   "a control key such as ^] or ^A; not ^I ^J ^M ^["        },
    {"test",          take_test,          "a word of at most 31 characters"                        },
};

static const struct key_table host_table = {
    host_keys, ARRAY_SIZE(host_keys),
    "log= idle= vmx.disable= console= console.input= dma= trace= gdb= smt= mitigations= monitor= monitor.key= test="};

/* Takes one word into *target and notes its key in *seen (bit n: row n of the table). */
static enum status take_word(const struct key_table *table, struct text word, void *target, u32 *seen,
                             struct refusal *why)
{
    struct text name = {word.start, 0};

    while (name.length < word.length && word.start[name.length] != '=')
        name.length++;
    if (name.length == word.length)
        return refuse(why, STATUS_INVALID, "'%.*s' is not of the form key=value; known keys: %s", quoted(word),
                      word.start, table->names);
    u32 row = 0;
    while (row < table->count && !text_is(name, table->keys[row].name))
        row++;
    if (row == table->count)
        return refuse(why, STATUS_INVALID, "unknown key '%.*s='; known keys: %s", quoted(name), name.start,
                      table->names);
    const struct key *key = &table->keys[row];
    if (*seen & BIT(row))
        return refuse(why, STATUS_INVALID, "%s= is given twice; give it once", key->name);
    *seen |= (u32)BIT(row);
    struct text value = {word.start + name.length + 1, word.length - name.length - 1};
    if (!key->take(value, target))
        return refuse(why, STATUS_INVALID, "%s=%.*s is not accepted; %s= takes %s", key->name, quoted(value),
                      value.start, key->name, key->accepted);
    return STATUS_OK;
}

/* The words of a line up to " -- " and what follows it. */
static enum status take_line(const char *line, struct vm_spec *spec, u32 *seen, struct refusal *why)
{
    enum status status = STATUS_OK;

    for (struct text word = next_word(&line); word.length; word = next_word(&line)) {
        if (text_is(word, "--")) {
            while (is_space(*line))
                line++;
            spec->guest_command_line = line;
            break;
        }
        enum status one = take_word(&vm_table, word, spec, seen, status == STATUS_OK ? why : NULL);
        status = status == STATUS_OK ? one : status;
    }
    if (status == STATUS_OK && spec->restarts && spec->restart == VM_RESTART_NEVER)
        return refuse(why, STATUS_INVALID, "restarts= without a restart; give restart=on-failure or restart=always");
    if (status == STATUS_OK && spec->has_snapshot_at && spec->stealth)
        return refuse(why, STATUS_INVALID, "stealth=on leaves no hypercalls for snapshot-at=; leave out one of them");
    return status;
}

enum status vm_spec_parse(const char *line, struct vm_spec *out, struct refusal *why)
{
    u32 seen = 0;

    *out = (struct vm_spec){.mem_bytes = VM_DEFAULT_MEM,
                            .cpus = 1,
                            .weight = VM_DEFAULT_WEIGHT,
                            .affinity = ~0ull,
                            .explain = true,
                            .guest_command_line = ""};
    enum status status = take_line(line, out, &seen, why);
    if (!(seen & BIT(KEY_VM)))
        return refuse(why, STATUS_INVALID, "module line '%.48s' has no vm=<name>; write for example vm=hello mem=8M",
                      line);
    if (status == STATUS_OK && out->role != VM_ROLE_BOOT && (seen & ~(BIT(KEY_VM) | BIT(KEY_ROLE))))
        return refuse(
            why, STATUS_INVALID,
            "a line with role= takes only vm= and role= before ' -- '; other keys belong on the boot image's line");
    return status;
}

enum status vm_spec_amend(const char *words, struct vm_spec *spec, struct refusal *why)
{
    u32 seen = 0;
    enum status status = take_line(words, spec, &seen, why);

    if (status == STATUS_OK && (seen & (BIT(KEY_VM) | BIT(KEY_ROLE))))
        return refuse(why, STATUS_INVALID, "vm= and role= belong on module lines; leave them out here");
    return status;
}

enum status vm_spec_set(const char *key, const char *value, struct vm_spec *spec, struct refusal *why)
{
    static const char *const changeable[] = {"weight", "cap", "affinity", "limit"};
    struct text name = {key, string_length(key)};
    struct text text = {value, string_length(value)};
    bool none = text_is(text, "none");
    u32 row = 0;

    if (find_word(name, changeable, ARRAY_SIZE(changeable)) < 0)
        return refuse(why, STATUS_INVALID, "'%.*s' cannot be changed; weight, cap, affinity and limit can",
                      quoted(name), key);
    while (!text_is(name, vm_keys[row].name))
        row++;
    if (none && vm_keys[row].take == take_cap)
        spec->cap_percent = 0;
    else if (none && vm_keys[row].take == take_limit)
        spec->limit_ms = VM_LIMIT_NONE;
    else if (!vm_keys[row].take(text, spec))
        return refuse(why, STATUS_INVALID, "%s=%.*s is not accepted; %s takes %s", key, quoted(text), value, key,
                      vm_keys[row].accepted);
    return STATUS_OK;
}

enum status host_options_parse(const char *line, struct host_options *out, struct refusal *why)
{
    enum status status = STATUS_OK;
    u32 seen = 0;

    *out = (struct host_options){.log = LOG_INFO, .mitigations = true, .monitor_key = MONITOR_KEY};
    for (struct text word = next_word(&line); word.length; word = next_word(&line)) {
        enum status one = take_word(&host_table, word, out, &seen, status == STATUS_OK ? why : NULL);
        status = status == STATUS_OK ? one : status;
    }
    if (out->idle_monitor && out->monitor == MONITOR_OFF) {
        out->idle_monitor = false;
        return refuse(status == STATUS_OK ? why : NULL, STATUS_INVALID,
                      "idle=monitor and monitor=off exclude each other; give one of them");
    }
    if (out->gdb[0] && out->trace == TRACE_TO_COM2) {
        out->trace = TRACE_TO_NOBODY;
        return refuse(status == STATUS_OK ? why : NULL, STATUS_INVALID,
                      "gdb= and trace=com2 both want COM2; give one of them, or trace=serial");
    }
    return status;
}
