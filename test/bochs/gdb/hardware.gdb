# More than four are too many; a watchpoint that is wider than a register takes two.
python
def attempt(command):
    """An error does not end the script."""
    try:
        gdb.execute(command)
    except gdb.error as error:
        print(error)
end
hbreak read_flags
hbreak call_int3
hbreak step_once
hbreak watch_once
continue
hbreak change_plain
python attempt("continue")
delete
rwatch watch_count
continue
delete
break change_plain
jump change_plain
backtrace 1
kill
