# Break in a guest's function, look at variables and the stack, step, and let it run to its end.
break guest_main
continue
backtrace
break console_text_page
continue
print row
print text
info source
stepi
next
print/x $cs
print $eflags
delete
tbreak guest_exit
continue
print status
detach
