# What is written into a vCPU that waits for SIPI is gone when that comes: it begins where SIPI says.
break check_init_running
continue
delete
break wait_ns if cpus[1].job == 0
continue
info threads
thread 2
set $rip = halt_for_good
set $rax = 1
delete
continue
