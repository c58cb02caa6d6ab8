# A guest hypervisor and its inner guest: breakpoints and steps in both, and from one into the other. The VM starts in
# 32-bit mode, so the option is gdb=NAME,64.
hbreak inner_measure
continue
delete
break cpuids
continue
printf "inner at %d\n", $rip - (unsigned long) cpuids
print/x $efer
delete
# CPUID exits: the step ends behind the hypervisor's first instruction.
stepi
printf "hypervisor at %d\n", $rip - (unsigned long) lab_exit
break lab_enter.resume
continue
delete
# VMRESUME: RIP is at CPUID still, which exits at once.
stepi
printf "hypervisor at %d\n", $rip - (unsigned long) lab_exit
hbreak reads_ports
continue
printf "inner at %d\n", $rip - (unsigned long) reads_ports
delete
# The second step is over IN, which Rootlet does in the place of the CPU.
stepi
stepi
printf "inner at %d\n", $rip - (unsigned long) reads_ports
continue
