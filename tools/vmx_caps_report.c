/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prints the capability report of a machine whose capability MSRs stand on standard input, one on a line: index and
 * value in hexadecimal; "disable NAME" for each name of vmx.disable=, and "withheld NAME"; "speculation" and the values
 * of struct speculation_cpu and mitigations=, in hexadecimal. tools/vmx-caps makes this input of a saved log. Exit
 * status: 0, or 1 if an MSR is missing that the others say exists, which is then named.
 */
#include <stdio.h>
#include <string.h>

#include "arch/x86/speculation.h"
#include "vmx/report/caps.h"

static struct vmx_caps_raw raw;
static bool given[VMX_CAPS_MSRS];
static bool given_feature_control;
static char disable[160], withheld[160];
static struct speculation_cpu cpu;
static bool has_cpu, mitigates;

static void append(char list[160], const char *name)
{
    if (strlen(list) + strlen(name) + 2 <= 160)
        strcat(strcat(list, *list ? "," : ""), name);
}

static void take(const char *line)
{
    unsigned index;
    unsigned long value;
    char name[32];
    unsigned intel, wanted;

    if (sscanf(line, "disable %31s", name) == 1) {
        append(disable, name);
    } else if (sscanf(line, "withheld %31s", name) == 1) {
        append(withheld, name);
    } else if (sscanf(line, "speculation %x %x %x %x %x %lx %x", &intel, &cpu.signature, &cpu.leaf7_ebx, &cpu.leaf7_edx,
                      &cpu.leaf7_2_edx, &cpu.arch_capabilities, &wanted) == 7) {
        cpu.is_intel = intel;
        mitigates = wanted;
        has_cpu = true;
    } else if (sscanf(line, "%x %lx", &index, &value) == 2 && index == MSR_IA32_FEATURE_CONTROL) {
        raw.feature_control = value;
        given_feature_control = true;
    } else if (sscanf(line, "%x %lx", &index, &value) == 2 && index - MSR_IA32_VMX_BASIC < VMX_CAPS_MSRS) {
        raw.value[index - MSR_IA32_VMX_BASIC] = value;
        given[index - MSR_IA32_VMX_BASIC] = true;
    }
}

static bool check(u32 index, bool is_given)
{
    if (!is_given)
        fprintf(stderr, "%s (0x%x)\n", caps_report_msr_name(index), index);
    return is_given;
}

static void print(const char *line)
{
    puts(line);
}

int main(void)
{
    char line[256];
    bool complete = true;

    while (fgets(line, sizeof line, stdin))
        take(line);
    complete &= check(MSR_IA32_FEATURE_CONTROL, given_feature_control);
    for (u32 i = 0; i < VMX_CAPS_MSRS; i++)
        complete &= check(MSR_IA32_VMX_BASIC + i, given[i] || !vmx_caps_exists(&raw, MSR_IA32_VMX_BASIC + i));
    if (!complete)
        return 1;
    if (has_cpu)
        speculation_report(&cpu, mitigates, print);
    vmx_caps_report(&raw, disable, withheld, print);
    return 0;
}
