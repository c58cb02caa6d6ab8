/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names of VMCS fields, in the spellings of the SDM, Linux, Xen, HAXM, VirtualBox and those who write from memory.
 * A name is the set of its words: each is made one of a few (AR and "access rights" are "access"), some say nothing,
 * and the order does not count. The set is one number, the sum of its words' hashes. Pure.
 */
#include "kernel/lib/string.h"
#include "tools/vmx_explain/dump.h"

/* Words that mean the same; an empty second: the word says nothing. */
static const struct {
    const char *word, *same;
} synonyms[] = {
    {"vm",             ""            },
    {"vmcs",           ""            },
    {"vmcs16",         ""            },
    {"vmcs32",         ""            },
    {"vmcs64",         ""            },
    {"vmx",            ""            },
    {"field",          ""            },
    {"full",           ""            },
    {"ia32",           ""            },
    {"the",            ""            },
    {"of",             ""            },
    {"for",            ""            },
    {"exec",           ""            },
    {"execution",      ""            },
    {"based",          ""            },
    {"ro",             ""            },
    {"bytes",          ""            },
    {"rights",         ""            },
    {"register",       ""            },
    {"state",          ""            },
    {"value",          ""            },
    {"val",            ""            },
    {"ctrl",           "controls"    },
    {"ctrls",          "controls"    },
    {"ctl",            "controls"    },
    {"ctls",           "controls"    },
    {"control",        "controls"    },
    {"ctrl2",          "controls2"   },
    {"control2",       "controls2"   },
    {"exec2",          "controls2"   },
    {"proc",           "processor"   },
    {"procbased",      "processor"   },
    {"cpu",            "processor"   },
    {"cpubased",       "processor"   },
    {"pinbased",       "pin"         },
    {"sec",            "secondary"   },
    {"proc2",          "processor2"  },
    {"sel",            "selector"    },
    {"ar",             "access"      },
    {"addr",           "address"     },
    {"pageaddr",       "address"     },
    {"accessaddr",     "address"     },
    {"ptr",            "pointer"     },
    {"intr",           "interruption"},
    {"int",            "interruption"},
    {"interrupt",      "interruption"},
    {"information",    "info"        },
    {"instr",          "instruction" },
    {"inst",           "instruction" },
    {"len",            "length"      },
    {"err",            "error"       },
    {"ec",             "errorcode"   },
    {"errcode",        "errorcode"   },
    {"dbg",            "debug"       },
    {"xcpts",          "exceptions"  },
    {"xcpt",           "exception"   },
    {"bitmap",         "bitmaps"     },
    {"gdt",            "gdtr"        },
    {"idt",            "idtr"        },
    {"ldt",            "ldtr"        },
    {"identifier",     "id"          },
    {"perfglobalctrl", "perf-global" },
    {"preempt",        "preemption"  },
    {"virt",           "virtual"     },
    {"pdptr0",         "pdpte0"      },
    {"pdptr1",         "pdpte1"      },
    {"pdptr2",         "pdpte2"      },
    {"pdptr3",         "pdpte3"      },
    {"pagefault",      "pf"          },
};

/* The spellings of a field that its own name does not give. Several stand in several rows. */
static const struct {
    u8 field;
    const char *name;
} spellings[] = {
    {FIELD_VPID,                         "virtual processor id"                        },
    {FIELD_POSTED_INTERRUPT_VECTOR,      "posted intr nv"                              },
    {FIELD_POSTED_INTERRUPT_VECTOR,      "posted interrupt notification vector"        },
    {FIELD_POSTED_INTERRUPT_VECTOR,      "posted interrupt notify vector"              },
    {FIELD_PML_INDEX,                    "guest pml index"                             },
    {FIELD_IO_BITMAP_A,                  "io bitmap a address"                         },
    {FIELD_IO_BITMAP_B,                  "io bitmap b address"                         },
    {FIELD_MSR_BITMAPS,                  "msr bitmap address"                          },
    {FIELD_EXIT_MSR_STORE_ADDRESS,       "exit msr store"                              },
    {FIELD_EXIT_MSR_LOAD_ADDRESS,        "exit msr load"                               },
    {FIELD_ENTRY_MSR_LOAD_ADDRESS,       "entry msr load"                              },
    {FIELD_EXECUTIVE_VMCS_POINTER,       "exec vmcs ptr"                               },
    {FIELD_PML_ADDRESS,                  "page modification log address"               },
    {FIELD_VIRTUAL_APIC_ADDRESS,         "virtual apic page address"                   },
    {FIELD_VIRTUAL_APIC_ADDRESS,         "vapic page"                                  },
    {FIELD_APIC_ACCESS_ADDRESS,          "apic access page"                            },
    {FIELD_APIC_ACCESS_ADDRESS,          "apic access page address"                    },
    {FIELD_APIC_ACCESS_ADDRESS,          "apic address"                                },
    {FIELD_POSTED_INTERRUPT_DESCRIPTOR,  "posted interrupt descriptor address"         },
    {FIELD_VM_FUNCTION_CONTROLS,         "vm function control"                         },
    {FIELD_VM_FUNCTION_CONTROLS,         "vmfunc controls"                             },
    {FIELD_EPT_POINTER,                  "eptp"                                        },
    {FIELD_EPT_POINTER,                  "eptptr"                                      },
    {FIELD_EOI_EXIT_BITMAP_0,            "eoi exit bitmap0"                            },
    {FIELD_EOI_EXIT_BITMAP_1,            "eoi exit bitmap1"                            },
    {FIELD_EOI_EXIT_BITMAP_2,            "eoi exit bitmap2"                            },
    {FIELD_EOI_EXIT_BITMAP_3,            "eoi exit bitmap3"                            },
    {FIELD_EPTP_LIST_ADDRESS,            "eptp list"                                   },
    {FIELD_VMREAD_BITMAP,                "vmread bitmap address"                       },
    {FIELD_VMWRITE_BITMAP,               "vmwrite bitmap address"                      },
    {FIELD_VE_INFORMATION_ADDRESS,       "virtualization exception information address"},
    {FIELD_VE_INFORMATION_ADDRESS,       "virt xcpt info address"                      },
    {FIELD_XSS_EXITING_BITMAP,           "xss exit bitmap"                             },
    {FIELD_ENCLS_EXITING_BITMAP,         "encls exit bitmap"                           },
    {FIELD_GUEST_PHYSICAL_ADDRESS,       "guest phys addr"                             },
    {FIELD_GUEST_PHYSICAL_ADDRESS,       "exit info guest physical address"            },
    {FIELD_VMCS_LINK_POINTER,            "guest vmcs link pointer"                     },
    {FIELD_GUEST_PERF_GLOBAL_CTRL,       "guest perf global"                           },
    {FIELD_HOST_PERF_GLOBAL_CTRL,        "host perf global"                            },
    {FIELD_PIN_CONTROLS,                 "pin"                                         },
    {FIELD_PROC_CONTROLS,                "primary processor controls"                  },
    {FIELD_PROC2_CONTROLS,               "secondary processor controls"                },
    {FIELD_PROC2_CONTROLS,               "secondary controls"                          },
    {FIELD_PROC2_CONTROLS,               "secondary"                                   },
    {FIELD_PROC2_CONTROLS,               "processor controls2"                         },
    {FIELD_PROC2_CONTROLS,               "processor2"                                  },
    {FIELD_PROC2_CONTROLS,               "processor2 controls"                         },
    {FIELD_PF_ERROR_MASK,                "page fault error code mask"                  },
    {FIELD_PF_ERROR_MASK,                "page fault errorcode mask"                   },
    {FIELD_PF_ERROR_MASK,                "pf errorcode mask"                           },
    {FIELD_PF_ERROR_MATCH,               "page fault error code match"                 },
    {FIELD_PF_ERROR_MATCH,               "page fault errorcode match"                  },
    {FIELD_PF_ERROR_MATCH,               "pf errorcode match"                          },
    {FIELD_ENTRY_INTERRUPTION_INFO,      "entry interruption"                          },
    {FIELD_ENTRY_EXCEPTION_ERROR_CODE,   "entry exception errorcode"                   },
    {FIELD_PROC_CONTROLS,                "primary"                                     },
    {FIELD_INSTRUCTION_ERROR,            "instruction error code"                      },
    {FIELD_INSTRUCTION_ERROR,            "instruction errorcode"                       },
    {FIELD_EXIT_REASON,                  "exit info reason"                            },
    {FIELD_EXIT_INTERRUPTION_INFO,       "exit info interruption info"                 },
    {FIELD_EXIT_INTERRUPTION_INFO,       "exit interruption"                           },
    {FIELD_EXIT_INTERRUPTION_ERROR_CODE, "exit info exception error code"              },
    {FIELD_EXIT_INTERRUPTION_ERROR_CODE, "exit interruption errorcode"                 },
    {FIELD_IDT_VECTORING_INFO,           "exit info idt vectoring"                     },
    {FIELD_IDT_VECTORING_INFO,           "idt vectoring"                               },
    {FIELD_IDT_VECTORING_ERROR_CODE,     "exit info idt vectoring error code"          },
    {FIELD_IDT_VECTORING_ERROR_CODE,     "idt vectoring errorcode"                     },
    {FIELD_EXIT_INSTRUCTION_LENGTH,      "exit info instruction length"                },
    {FIELD_EXIT_INSTRUCTION_LENGTH,      "instruction length"                          },
    {FIELD_EXIT_INSTRUCTION_INFO,        "exit info instruction info"                  },
    {FIELD_EXIT_INSTRUCTION_INFO,        "instruction info"                            },
    {FIELD_EXIT_QUALIFICATION,           "exit info qualification"                     },
    {FIELD_GUEST_LINEAR_ADDRESS,         "exit info guest linear address"              },
    {FIELD_IO_RCX,                       "exit info io ecx"                            },
    {FIELD_IO_RSI,                       "exit info io esi"                            },
    {FIELD_IO_RDI,                       "exit info io edi"                            },
    {FIELD_IO_RIP,                       "exit info io eip"                            },
    {FIELD_GUEST_INTERRUPTIBILITY,       "guest interruptibility info"                 },
    {FIELD_GUEST_INTERRUPTIBILITY,       "guest interruption"                          },
    {FIELD_GUEST_INTERRUPTIBILITY,       "guest interruptability"                      },
    {FIELD_GUEST_INTERRUPTIBILITY,       "guest interruptability info"                 },
    {FIELD_GUEST_ACTIVITY_STATE,         "guest activity"                              },
    {FIELD_PREEMPTION_TIMER_VALUE,       "guest preemption timer"                      },
    {FIELD_CR0_MASK,                     "cr0 guest host mask"                         },
    {FIELD_CR4_MASK,                     "cr4 guest host mask"                         },
    {FIELD_CR0_SHADOW,                   "cr0 read shadow"                             },
    {FIELD_CR4_SHADOW,                   "cr4 read shadow"                             },
    {FIELD_CR3_TARGET_0,                 "cr3 target0"                                 },
    {FIELD_CR3_TARGET_1,                 "cr3 target1"                                 },
    {FIELD_CR3_TARGET_2,                 "cr3 target2"                                 },
    {FIELD_CR3_TARGET_3,                 "cr3 target3"                                 },
    {FIELD_CR3_TARGET_0,                 "cr3 target val base"                         },
    {FIELD_GUEST_PENDING_DEBUG,          "guest pending debug exceptions"              },
    {FIELD_GUEST_PENDING_DEBUG,          "guest pending debug exception"               },
    {FIELD_GUEST_PENDING_DEBUG,          "guest pending dbe"                           },
    {FIELD_GUEST_PENDING_DEBUG,          "guest debug exceptions"                      },
    {FIELD_GUEST_SYSENTER_ESP,           "guest sysenter rsp"                          },
    {FIELD_GUEST_SYSENTER_EIP,           "guest sysenter rip"                          },
    {FIELD_HOST_SYSENTER_ESP,            "host sysenter rsp"                           },
    {FIELD_HOST_SYSENTER_EIP,            "host sysenter rip"                           },
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_part(char c)
{
    c = lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* FNV-1a, of 64 bits. */
static u64 hash(const char *text, size_t length)
{
    u64 sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ (u8)lower(text[i])) * 0x100000001b3;
    return sum;
}

/* A set of words: the sum of their hashes. */
struct set {
    u64 sum;
    u32 words;
    bool high;
};

static bool is_same(const char *text, size_t length, const char *word)
{
    if (string_length(word) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (lower(text[i]) != word[i])
            return false;
    return true;
}

static void set_add(struct set *set, const char *text, size_t length)
{
    if (is_same(text, length, "high")) {
        set->high = true;
        return;
    }
    for (u32 i = 0; i < ARRAY_SIZE(synonyms); i++) {
        if (is_same(text, length, synonyms[i].word)) {
            text = synonyms[i].same;
            length = string_length(text);
            break;
        }
    }
    if (!length)
        return;
    set->sum += hash(text, length);
    set->words++;
}

/*
 * Adds each word of a name: letters and digits; "I/O" is one word, and a capital behind a small letter begins another,
 * as in GuestCr0.
 */
static void set_add_name(struct set *set, const char *text, size_t length)
{
    char part[40];
    size_t used = 0;

    for (size_t i = 0; i <= length; i++) {
        bool inside = i < length && is_part(text[i]);
        bool camel = inside && used && is_upper(text[i]) && !is_upper(text[i - 1]) && is_part(text[i - 1]) &&
                     !(text[i - 1] >= '0' && text[i - 1] <= '9');
        if (used && (camel || !inside) && !(used == 1 && i < length && text[i] == '/')) {
            set_add(set, part, used);
            used = 0;
        }
        if (inside && used < sizeof part)
            part[used++] = text[i];
    }
}

static u64 sum_of(const char *name)
{
    struct set set = {0};
    set_add_name(&set, name, string_length(name));
    return set.sum;
}

static u64 own_sums[CHECK_FIELDS], spelling_sums[ARRAY_SIZE(spellings)];

static void prepare(void)
{
    if (own_sums[0])
        return;
    for (u32 i = 0; i < CHECK_FIELDS; i++)
        own_sums[i] = sum_of(check_field_name(i));
    for (u32 i = 0; i < ARRAY_SIZE(spellings); i++)
        spelling_sums[i] = sum_of(spellings[i].name);
}

static u32 find(u64 sum)
{
    for (u32 i = 0; i < CHECK_FIELDS; i++)
        if (own_sums[i] == sum)
            return i;
    for (u32 i = 0; i < ARRAY_SIZE(spellings); i++)
        if (spelling_sums[i] == sum)
            return spellings[i].field;
    return CHECK_FIELDS;
}

u32 dump_field_by_name(const struct words *words, u32 first, u32 count, bool *high)
{
    struct set set = {0};

    prepare();
    for (u32 i = 0; i < count; i++)
        set_add_name(&set, words->word[first + i].text, words->word[first + i].length);
    *high = set.high;
    if (!set.words)
        return CHECK_FIELDS;
    u32 row = find(set.sum);
    if (row == CHECK_FIELDS) /* VirtualBox puts CTRL before the name of each control field */
        row = find(set.sum - hash("controls", 8));
    return row;
}

u32 dump_field_by_encoding(u64 encoding, bool *high)
{
    *high = encoding & 1;
    for (u32 i = 0; i < CHECK_FIELDS; i++)
        if (check_field_encoding(i) == (encoding & ~1ull) && (!*high || (encoding >> 13 & 3) == VMCS_WIDTH_CODE_64))
            return i;
    return CHECK_FIELDS;
}
