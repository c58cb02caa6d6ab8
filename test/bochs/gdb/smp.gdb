# Two vCPUs are two threads: a breakpoint in the second, a watchpoint that both meet, both to the end.
info threads
break smp_main
continue
info threads
print index
thread 1
frame function guest_main
print vcpus
thread 2
delete
watch finished
continue
continue
info threads
delete
break guest_exit
continue
print own_count[0] + own_count[1]
continue
