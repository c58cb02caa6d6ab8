# A VM that takes a snapshot and goes back three times, under a debugger that is told each time.
break spoil
continue
echo asked in vain\n
continue
echo snapshot\n
backtrace
continue
set $where = $pc
continue
echo back once\n
backtrace
x/1xb $where
continue
delete
continue
echo back twice\n
continue
echo back thrice\n
hbreak guest_exit
continue
print status
continue
