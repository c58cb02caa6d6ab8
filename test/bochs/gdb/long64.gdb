# 64-bit code with paging, in ring 0 and ring 3. The VM starts in 32-bit mode, so the option is gdb=long,64.
break long64_syscall if number == 2
continue
print first + second
print/x $efer
backtrace 3
delete
hbreak long64_task.turn
continue
print $cs & 3
print $rip
stepi
print $rip
delete
watch caught_count
continue
continue
delete
# A debugger's own memory accesses: through the page tables, and not to what is no memory.
python
def attempt(command):
    """An error does not end the script."""
    try:
        gdb.execute(command)
    except gdb.error as error:
        print(error)
end
python attempt("print/x *(int *)0x7fffffffffff")
python attempt("print/x *(int *)0xfee00020")
set var task_result = 77
print task_result
set var task_result = 1
set $xmm0.v2_int64[0] = 0x1122334455667788
print/x $xmm0.v2_int64[0]
continue
