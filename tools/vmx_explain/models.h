/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPU models whose capability MSRs are known: those of Bochs, which follow the CPUs that they are named after. Each is
 * what Rootlet prints there with log=debug (`vmx cap`).
 */
#ifndef ROOTLET_TOOLS_EXPLAIN_MODELS_H
#define ROOTLET_TOOLS_EXPLAIN_MODELS_H

#include "arch/x86/msr.h"
#include "kernel/lib/types.h"

static const struct {
    const char *name;
    u8 physical_bits, linear_bits;
    u64 msr[MSR_IA32_VMX_VMFUNC - MSR_IA32_VMX_BASIC + 1]; /* from IA32_VMX_BASIC on; 0 where there is none */
} models[] = {
    {"core2_penryn_t9600",
     40, 48,
     {0xd810000000002b, 0x3f00000016, 0xf7f9fffe0401e172, 0x3ffff00036dff, 0x3fff000011ff, 0x401e0, 0x80000021,
      0xffffffff, 0x2000, 0x467ff, 0x34, 0x4100000000, 0x0, 0x3f00000016, 0xf7f9fffe04006172, 0x3ffff00036dfb,
      0x3fff000011fb, 0x0}                      },
    {"corei5_lynnfield_750",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x401e0, 0x80000021,
      0xffffffff, 0x2000, 0x67ff, 0x34, 0x7f00000000, 0xf0106114141, 0x7f00000016, 0xf7f9fffe04006172, 0x7fffff00036dfb,
      0xffff000011fb, 0x0}                      },
    {"corei5_arrandale_m520",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x401e0, 0x80000021,
      0xffffffff, 0x2000, 0x67ff, 0x34, 0xff00000000, 0xf0106114141, 0x7f00000016, 0xf7f9fffe04006172, 0x7fffff00036dfb,
      0xffff000011fb, 0x0}                      },
    {"corei7_sandy_bridge_2600k",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x401e0, 0x80000021,
      0xffffffff, 0x2000, 0x627ff, 0x34, 0xff00000000, 0xf0106114141, 0x7f00000016, 0xf7f9fffe04006172,
      0x7fffff00036dfb, 0xffff000011fb, 0x0}    },
    {"corei7_ivy_bridge_3770k",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x401e0, 0x80000021,
      0xffffffff, 0x2000, 0x1727ff, 0x34, 0x8ff00000000, 0xf0106114141, 0x7f00000016, 0xf7f9fffe04006172,
      0x7fffff00036dfb, 0xffff000011fb, 0x0}    },
    {"corei7_haswell_4770",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x200401e0, 0x80000021,
      0xffffffff, 0x2000, 0x1727ff, 0x34, 0x47fff00000000, 0xf0106334141, 0x7f00000016, 0xf7f9fffe04006172,
      0x7fffff00036dfb, 0xffff000011fb, 0x1}    },
    {"broadwell_ult",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x200401e0, 0x80000021,
      0xffffffff, 0x2000, 0x3727ff, 0x34, 0x57fff00000000, 0xf0106334141, 0x7f00000016, 0xf7f9fffe04006172,
      0x7fffff00036dfb, 0xffff000011fb, 0x1}    },
    {"corei7_skylake_x",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x600401e0, 0x80000021,
      0xffffffff, 0x2000, 0x3727ff, 0x34, 0x2177fff00000000, 0xf0106334141, 0x7f00000016, 0xf7f9fffe04006172,
      0x7fffff00036dfb, 0xffff000011fb, 0x1}    },
    {"corei3_cnl",
     40, 48,
     {0xd810000000002b, 0x7f00000016, 0xf7f9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x600401e0, 0x80000021,
      0xffffffff, 0x2000, 0x772fff, 0x34, 0x2157cff00000000, 0xf0106334141, 0x7f00000016, 0xf7f9fffe04006172,
      0x7fffff00036dfb, 0xffff000011fb, 0x1}    },
    {"corei7_icelake_u",
     40, 48,
     {0xd8100000000004, 0x7f00000016, 0xfff9fffe0401e172, 0x7fffff00036dff, 0xffff000011ff, 0x600401e0, 0x80000021,
      0xffffffff, 0x2000, 0x772fff, 0x34, 0x2977fff00000000, 0xf0106334141, 0x7f00000016, 0xfff9fffe04006172,
      0x7fffff00036dfb, 0xffff000011fb, 0x1}    },
    {"tigerlake",
     40, 48,
     {0x1d8100000000004, 0x7f00000016, 0xfff9fffe0401e172, 0x107fffff00036dff, 0x10ffff000011ff, 0x600401e0, 0x80000021,
      0xffffffff, 0x2000, 0xf72fff, 0x34, 0x2977fff00000000, 0xf0106b34141, 0x7f00000016, 0xfff9fffe04006172,
      0x107fffff00036dfb, 0x10ffff000011fb, 0x1}},
    {"arrow_lake",
     40, 48,
     {0x1d8100000000004, 0xff00000016, 0xfffbfffe0401e172, 0xf87fffff00036dff, 0x58ffff000011ff, 0x600401e0, 0x80000021,
      0xffffffff, 0x2000, 0xbf72fff, 0x50, 0x6d77fff00000000, 0xf0106f34141, 0xff00000016, 0xfffbfffe04006172,
      0xf87fffff00036dfb, 0x58ffff000011fb, 0x1}},
};

#endif
