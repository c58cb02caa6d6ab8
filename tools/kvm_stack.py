# SPDX-License-Identifier: BSD-2-Clause
"""The machine that tools/run-kvm boots around QEMU: an ISO with the kernel and two archives.

They are made of what tools/fetch-kvm brought.
"""
import glob
import lzma
import os
import re
import shlex
import shutil
import subprocess
import tempfile

import cpio
import qemu

TOOLS = os.path.dirname(os.path.abspath(__file__))
STORE = os.path.join(os.path.dirname(TOOLS), "build/kvm")
STACK = os.path.join(STORE, "stack")
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")  # Debian 13 has all in the second
FIRMWARE = ("seabios/bios-256k.bin", "seabios/vgabios-stdvga.bin", "qemu/kvmvapic.bin")
OVMF = ("OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd")
GRUB = "/usr/lib/grub/i386-pc"
GRUB_MODULES = "biosdisk iso9660 linux normal serial terminfo"
# The virtual interrupts of KVM's guests by software: Bochs 3 refuses KVM's posted-interrupt descriptors, for it wants
# them page-aligned; Bochs 2.7 has none.
PARAMETERS = {"kvm_intel": "nested=1 enable_apicv=0"}
# Bochs 2.7 misplaces registers in XSAVEC and XSAVES (321, 323). The TSC runs at `ips`, whatever its CPUID says.
KERNEL_LINE = "nokaslr clearcpuid=321,323 mitigations=off tsc_early_khz={khz} console=ttyS0 quiet panic=-1"


class StackError(Exception):
    """The machine cannot be made; the words say why and what would help."""


def read(path):
    with open(path, "rb") as file:
        return file.read()


def find(*names):
    for name in names:
        path = os.path.join(STACK, name)
        if os.path.exists(path):
            return path
    raise StackError(f"{STACK} has no {names[0]}: run tools/fetch-kvm --again")


def loader():
    return find(*(folder + "/ld-linux-x86-64.so.2" for folder in LIBRARIES))


def with_libraries(*words):
    """The command that runs a program of the stack here, whatever the system's own libraries are."""
    return [loader(), "--library-path", ":".join(os.path.join(STACK, folder) for folder in LIBRARIES), *words]


def libraries(program):
    result = subprocess.run(with_libraries("--list", program), check=False, capture_output=True, text=True)
    if result.returncode != 0 or "not found" in result.stdout:
        raise StackError(f"{program} lacks libraries: {result.stdout}{result.stderr}")
    return re.findall(r"=> (/\S+)", result.stdout)


def modules():
    """KVM's modules and what they depend on, in the order of loading: (name, bytes)."""
    there, order = {}, []
    for path in glob.glob(os.path.join(STACK, "modules/*.ko*")):
        data = lzma.decompress(read(path)) if path.endswith(".xz") else read(path)
        there[os.path.basename(path).split(".")[0].replace("-", "_")] = data

    def add(name):
        if name not in there:
            raise StackError(f"{STACK}/modules has no {name}: run tools/fetch-kvm --again")
        for other in re.search(rb"\0depends=([^\0]*)\0", there[name]).group(1).decode().split(","):
            if other:
                add(other.replace("-", "_"))
        if name not in order:
            order.append(name)

    add("kvm_intel")
    return [(name, there[name]) for name in order]


def port_writer(folder):
    """The program that copies its input to Bochs's port 0xE9."""
    program = os.path.join(folder, "e9")
    subprocess.run(["nasm", "-f", "elf64", "-o", program + ".o", os.path.join(TOOLS, "kvm/e9.asm")], check=True)
    subprocess.run(["ld", "-m", "elf_x86_64", "-s", "-o", program, program + ".o"], check=True)
    return read(program)


def constant_members(folder):
    """What is the same for every run."""
    program = find("usr/bin/" + qemu.PROGRAM)
    folders = ("bin", "dev", "lib", "lib64", "modules", "run", "usr", "usr/bin", "usr/share",
               "usr/share/seabios", "usr/share/qemu", "usr/share/OVMF")
    members = [(name, cpio.DIRECTORY) for name in folders]
    members += [
        ("dev/console", cpio.CHARACTER_DEVICE, b"", (5, 1)),
        ("init", cpio.PROGRAM, read(os.path.join(TOOLS, "kvm/init"))),
        ("bin/busybox", cpio.PROGRAM, read(find("bin/busybox", "usr/bin/busybox"))),
        ("bin/e9", cpio.PROGRAM, port_writer(folder)),
        ("usr/bin/" + qemu.PROGRAM, cpio.PROGRAM, read(program)),
        ("lib64/ld-linux-x86-64.so.2", cpio.PROGRAM, read(loader())),
    ]
    members += [("lib/" + os.path.basename(file), cpio.PROGRAM, read(file)) for file in libraries(program)]
    members += [("usr/share/" + name, cpio.FILE, read(find("usr/share/" + name))) for name in FIRMWARE]
    for name, data in modules():
        members.append((f"modules/{name}.ko", cpio.FILE, data))
    order = "".join(f"{name}.ko {PARAMETERS.get(name, '')}".rstrip() + "\n" for name, _ in modules())
    return members + [("run/modules", cpio.FILE, order.encode())]


def constant_archive():
    """The path of the archive of these, made anew if anything is newer."""
    path = os.path.join(STORE, "base.img")
    ours = ("kvm_stack.py", "cpio.py", "qemu.py", "kvm/init", "kvm/e9.asm")
    sources = [os.path.join(TOOLS, name) for name in ours] + [STACK]
    if os.path.exists(path) and all(os.path.getmtime(source) <= os.path.getmtime(path) for source in sources):
        return path
    with tempfile.TemporaryDirectory(dir=STORE) as folder:
        archive = os.path.join(folder, "base")
        with open(archive, "wb") as file:
            file.write(cpio.archive(constant_members(folder)))
        # The format that Linux reads, and reads fast.
        compress = with_libraries(find("usr/bin/lz4"), "-l", "-9", "-q", "-f", archive, archive + ".lz4")
        subprocess.run(compress, check=True)
        os.replace(archive + ".lz4", path)
    return path


def run_archive(iso, command, uefi):
    members = [
        ("run", cpio.DIRECTORY),
        ("run/boot.iso", cpio.FILE, read(iso)),
        ("run/command", cpio.FILE, f"exec {shlex.join(command)}\n".encode()),
    ]
    if uefi:
        code, variables = (find("usr/share/" + name) for name in OVMF)
        members += [(name, cpio.DIRECTORY) for name in ("usr", "usr/share", "usr/share/OVMF")]
        members += [("usr/share/" + OVMF[0], cpio.FILE, read(code)), ("run/vars.fd", cpio.FILE, read(variables))]
    return cpio.archive(members)


def grub_config(khz):
    lines = ["serial --unit=0 --speed=115200", "terminfo serial dumb", "terminal_output serial"]
    lines += ["linux /boot/vmlinuz " + KERNEL_LINE.format(khz=khz)]
    # In this order: a compressed archive of this format has no end that Linux would notice.
    lines += ["initrd /boot/run.img /boot/base.img", "boot", ""]
    return "\n".join(lines)


def make_iso(out, iso, command, khz, uefi):
    """Writes the ISO that boots the machine in which `command` runs with `iso`."""
    if not os.path.isdir(GRUB):
        raise StackError(f"{GRUB} is not there: run tools/setup build")
    base = constant_archive()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out)) as folder:
        os.makedirs(os.path.join(folder, "boot/grub"))
        shutil.copyfile(find("vmlinuz"), os.path.join(folder, "boot/vmlinuz"))
        shutil.copyfile(base, os.path.join(folder, "boot/base.img"))
        with open(os.path.join(folder, "boot/run.img"), "wb") as file:
            file.write(run_archive(iso, command, uefi))
        with open(os.path.join(folder, "boot/grub/grub.cfg"), "w", encoding="ascii") as file:
            file.write(grub_config(khz))
        words = ["grub-mkrescue", "-d", GRUB, "-o", out, folder, f"--install-modules={GRUB_MODULES}"]
        words += ["--fonts=", "--themes=", "--locales="]
        result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            raise StackError(f"grub-mkrescue failed: {result.stdout}")
