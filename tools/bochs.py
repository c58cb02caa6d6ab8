# SPDX-License-Identifier: BSD-2-Clause
"""A machine of Bochs: its settings, and how its end is known. run-bochs boots Rootlet in it, run-kvm Linux."""

SETTINGS = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=1
config_interface: textconfig
display_library: rfb, options="timeout=0"
megs: {memory}
romimage: file=$BXSHARE/BIOS-bochs-latest, options=fastboot
vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={iso}, status=inserted
log: bochs.log
panic: action=fatal
error: action=report
info: action=report
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0{features}
clock: sync=none, time0=local
com1: enabled=1, {com1}
{com2}
port_e9_hack: enabled=1
magic_break: enabled={magic_break}
"""
POWER_OFF = ("ACPI control: soft power off", "Shutdown port: shutdown requested")
TRIPLE_FAULT = r"3rd \(\d+\) exception with no resolution"
