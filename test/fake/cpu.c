/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See cpu.h. CPUID of a leaf or subleaf that is not in the table reads 0, as unlisted subleaves do on hardware.
 */
#include "test/fake/cpu.h"
#include "arch/x86/xsave.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_LEAVES 128u

struct fake_cpu fake_cpu;

/* A test that simulates several CPUs has a clock of its own. */
__attribute__((weak)) u64 cpu_tsc(void)
{
    return fake_cpu.tsc;
}

static struct {
    u32 leaf, subleaf;
    struct cpuid_result result;
} leaves[MAX_LEAVES];
static u32 leaf_count;

#define FAKE_DEFINE_REGISTER(name)                                                                                     \
    u64 name##_read(void)                                                                                              \
    {                                                                                                                  \
        return fake_cpu.name;                                                                                          \
    }                                                                                                                  \
    void name##_write(u64 value)                                                                                       \
    {                                                                                                                  \
        fake_cpu.name = value;                                                                                         \
    }

FAKE_DEFINE_REGISTER(cr0)
FAKE_DEFINE_REGISTER(cr2)
FAKE_DEFINE_REGISTER(cr3)
FAKE_DEFINE_REGISTER(cr4)
FAKE_DEFINE_REGISTER(dr0)
FAKE_DEFINE_REGISTER(dr1)
FAKE_DEFINE_REGISTER(dr2)
FAKE_DEFINE_REGISTER(dr3)
FAKE_DEFINE_REGISTER(dr6)
FAKE_DEFINE_REGISTER(dr7)
FAKE_DEFINE_REGISTER(xcr0)

u32 pkru_read(void)
{
    return fake_cpu.pkru;
}

void fake_cpu_reset(void)
{
    fake_cpu = (struct fake_cpu){.xcr0 = XCR0_X87};
    leaf_count = 0;
}

void fake_cpuid_set(u32 leaf, u32 subleaf, struct cpuid_result result)
{
    u32 at = 0;

    while (at < leaf_count && (leaves[at].leaf != leaf || leaves[at].subleaf != subleaf))
        at++;
    if (at == MAX_LEAVES) {
        fprintf(stderr, "fake CPUID: the table is full\n");
        abort();
    }
    leaf_count += at == leaf_count;
    leaves[at].leaf = leaf;
    leaves[at].subleaf = subleaf;
    leaves[at].result = result;
}

struct cpuid_result cpu_cpuid(u32 leaf, u32 subleaf)
{
    for (u32 i = 0; i < leaf_count; i++)
        if (leaves[i].leaf == leaf && leaves[i].subleaf == subleaf)
            return leaves[i].result;
    return (struct cpuid_result){0};
}

void fake_cpuid_skylake(void)
{
    static const struct {
        u32 leaf, subleaf;
        struct cpuid_result result;
    } rows[] = {
        {0,          0, {0x16, 0x756e6547, 0x6c65746e, 0x49656e69}      },
        {1,          0, {0x00050654, 0x07200800, 0xfffaffff, 0xbfebfbff}},
        {2,          0, {0x76036301, 0x00f0b5ff, 0, 0x00c30000}         },
        {4,          0, {0x3c004121, 0x01c0003f, 0x3f, 0}               },
        {4,          1, {0x3c004122, 0x01c0003f, 0x3f, 0}               },
        {4,          2, {0x3c004143, 0x03c0003f, 0x3ff, 0}              },
        {4,          3, {0x3c07c163, 0x0280003f, 0x5fff, 4}             },
        {5,          0, {0x40, 0x40, 3, 0x2020}                         },
        {6,          0, {0x75, 2, 9, 0}                                 },
        {7,          0, {0, 0xffffffff, 0xffffffff, 0xffffffff}         },
        {0xa,        0, {0x07300404, 0, 0, 0x603}                       },
        {0xb,        0, {1, 2, 0x100, 7}                                },
        {0xb,        1, {4, 16, 0x201, 7}                               },
        {0xd,        0, {0x2ff, 2696, 2696, 0}                          },
        {0xd,        1, {0xf, 2696, 0x100, 0}                           },
        {0xd,        2, {256, 576, 0, 0}                                },
        {0xd,        3, {64, 960, 0, 0}                                 },
        {0xd,        4, {64, 1024, 0, 0}                                },
        {0xd,        5, {64, 1088, 0, 0}                                },
        {0xd,        6, {512, 1152, 0, 0}                               },
        {0xd,        7, {1024, 1664, 0, 0}                              },
        {0xd,        8, {128, 0, 1, 0}                                  },
        {0xd,        9, {8, 2688, 0, 0}                                 },
        {0x15,       0, {2, 292, 25000000, 0}                           },
        {0x16,       0, {3500, 4000, 100, 0}                            },
        {0x40000000, 0, {0x40000010, 0x4b4d564b, 0x564b4d56, 0x4d}      },
        {0x80000000, 0, {0x80000008, 0, 0, 0}                           },
        {0x80000001, 0, {0, 0, 0xffffffff, 0xffffffff}                  },
        {0x80000002, 0, {0x65746e49, 0x2952286c, 0x726f4320, 0x4d542865}},
        {0x80000006, 0, {0, 0, 0x01006040, 0}                           },
        {0x80000007, 0, {0, 0, 0, 0x100}                                },
        {0x80000008, 0, {0x302e, 0, 0, 0}                               },
    };
    for (u32 i = 0; i < sizeof rows / sizeof rows[0]; i++)
        fake_cpuid_set(rows[i].leaf, rows[i].subleaf, rows[i].result);
}
