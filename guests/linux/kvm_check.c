/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether /dev/kvm works: a guest of two CPUs with the in-kernel interrupt controllers and timer, in real, protected
 * and long mode (kvm_guest.asm), with exits to this program for a port and for memory that is not there. A static
 * program for an initrd. Prints `kvm ok` and ends with status 0, or says what failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MEMORY_BYTES 0x80000u
#define CODE_AT      0x1000u
#define GUEST_PORT   0x10u
#define MMIO_AT      0xd0000u
#define MMIO_SAYS    0x5au
#define TSS_AT       0xfffbd000u
#define IDENTITY_AT  0xfffbc000u
#define CPUS         2

struct cpu {
    int fd;
    struct kvm_run *run;
};

__asm__(".pushsection .rodata\n"
        ".global guest_code, guest_code_end\n"
        "guest_code: .incbin \"" GUEST_CODE "\"\n"
        "guest_code_end:\n"
        ".popsection");
extern const char guest_code[], guest_code_end[];

static struct cpu cpus[CPUS];
static uint8_t mmio_written;
static char letters[16];
static size_t letter_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    printf("kvm FAIL: ");
    vprintf(format, arguments);
    printf(" (letters so far: %s)\n", letters);
    exit(1);
}

static int call(int fd, unsigned long request, void *argument, const char *name)
{
    int result = ioctl(fd, request, argument);
    if (result < 0)
        fail("%s: %m", name);
    return result;
}
#define CALL(fd, request, argument) call(fd, request, (void *)(uintptr_t)(argument), #request)

static int make_vm(int kvm)
{
    uint64_t identity = IDENTITY_AT;
    struct kvm_pit_config pit = {0};
    void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_BYTES, .userspace_addr = (uintptr_t)memory};

    if (memory == MAP_FAILED)
        fail("mmap: %m");
    memcpy((char *)memory + CODE_AT, guest_code, (size_t)(guest_code_end - guest_code));
    int vm = CALL(kvm, KVM_CREATE_VM, 0);
    CALL(vm, KVM_SET_TSS_ADDR, TSS_AT);
    CALL(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    CALL(vm, KVM_CREATE_IRQCHIP, 0);
    CALL(vm, KVM_CREATE_PIT2, &pit);
    CALL(vm, KVM_SET_USER_MEMORY_REGION, &region);
    return vm;
}

/* Without its CPUID a guest could not enter long mode. */
static void set_cpuid(int kvm, int fd)
{
    static struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[128];
    } cpuid;

    cpuid.head.nent = 128;
    CALL(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
    CALL(fd, KVM_SET_CPUID2, &cpuid);
}

static void make_cpu(int kvm, int vm, int number)
{
    struct cpu *cpu = &cpus[number];
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = CODE_AT, .rflags = 2};

    cpu->fd = CALL(vm, KVM_CREATE_VCPU, number);
    size_t bytes = (size_t)CALL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    cpu->run = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (cpu->run == MAP_FAILED)
        fail("mmap of a vCPU: %m");
    set_cpuid(kvm, cpu->fd);
    if (number)
        return; /* it waits for its SIPI */
    CALL(cpu->fd, KVM_GET_SREGS, &sregs);
    sregs.cs.base = sregs.cs.selector = 0;
    CALL(cpu->fd, KVM_SET_SREGS, &sregs);
    CALL(cpu->fd, KVM_SET_REGS, &regs);
}

/* True: the guest has come to its end. */
static bool take_letter(const struct kvm_run *run)
{
    char letter = *((const char *)run + run->io.data_offset);

    if (run->io.port != GUEST_PORT || run->io.direction != KVM_EXIT_IO_OUT || run->io.size != 1)
        fail("an access to port %x", run->io.port);
    pthread_mutex_lock(&lock);
    if (letter_count < sizeof letters - 1)
        letters[letter_count++] = letter;
    pthread_mutex_unlock(&lock);
    printf("kvm: %c\n", letter);
    if (letter == 'F')
        fail("the guest found a mistake");
    return letter == 'E';
}

static void access_memory(struct kvm_run *run)
{
    uint64_t offset = run->mmio.phys_addr - MMIO_AT;

    if (offset > 1 || run->mmio.len != 1)
        fail("an access to address %llx", run->mmio.phys_addr);
    if (run->mmio.is_write)
        mmio_written = run->mmio.data[0];
    else
        run->mmio.data[0] = (uint8_t)(mmio_written + 1);
}

static void *run_cpu(void *argument)
{
    struct cpu *cpu = argument;

    for (;;) {
        if (ioctl(cpu->fd, KVM_RUN, 0) < 0) {
            if (errno == EAGAIN || errno == EINTR) /* its INIT has come, or a signal */
                continue;
            fail("KVM_RUN: %m");
        }
        switch (cpu->run->exit_reason) {
        case KVM_EXIT_IO:
            if (take_letter(cpu->run))
                return NULL;
            break;
        case KVM_EXIT_MMIO:
            access_memory(cpu->run);
            break;
        default:
            fail("exit reason %u, hardware's %llx", cpu->run->exit_reason, cpu->run->hw.hardware_exit_reason);
        }
    }
}

int main(void)
{
    pthread_t second;
    int kvm = open("/dev/kvm", O_RDWR);

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (kvm < 0)
        fail("/dev/kvm: %m");
    if (CALL(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        fail("another API version");
    int vm = make_vm(kvm);
    for (int i = 0; i < CPUS; i++)
        make_cpu(kvm, vm, i);
    if (pthread_create(&second, NULL, run_cpu, &cpus[1]))
        fail("no thread");
    run_cpu(&cpus[0]);
    if (strcmp(letters, "RMTPLSE") != 0)
        fail("other letters than RMTPLSE");
    printf("kvm ok\n");
    return 0;
}
