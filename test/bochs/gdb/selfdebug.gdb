# The guest uses INT3, TF and DR0 itself, and finds all as it should be while it is stepped and has breakpoints.
break read_flags
continue
stepi
# What PUSHF has pushed:
print (*(int *)$esp & 0x100) == 0
break call_int3
continue
# INT3 is the guest's: its handler runs, and the step ends behind it.
stepi
stepi
print int3_count
delete
break step_once
continue
# PUSHF, OR and POPF: now TF is the guest's own.
stepi
stepi
stepi
print $eflags
stepi
delete
watch plain
continue
continue
delete
hbreak watch_once
continue
# The guest's own DR0, which it gets although the debugger has used the registers.
delete
print other_count
continue
