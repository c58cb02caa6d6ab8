/*
 * test=WORD on the hypervisor's line: what the test-suite provokes. docs/running.md does not offer it to users.
 */
#ifndef ROOTLET_KERNEL_SELFTEST_H
#define ROOTLET_KERNEL_SELFTEST_H

/* The boot CPU, before virt_init(): does what the word says at once, or keeps it for its time. "": no test. */
void selftest_begin(const char *word);
/* Each CPU, behind its VMXOFF. */
void selftest_after_vmxoff(void);
/* The boot CPU, when the last VM has stopped. */
void selftest_at_end(void);

#endif
