"""The scheduler from outside: shares, caps, affinity, moves between CPUs, ends of VMs."""
SPIN = "build/guests/spinner.elf"


def run_us(run, name):
    return int(run.event("vm stats", name=name)["run_us"])


def test_shares_follow_weights(boot):
    run = boot(
        f"{SPIN} vm=light mem=4M affinity=0 weight=100 limit=2000\n{SPIN} vm=heavy mem=4M affinity=0 weight=300 limit=2000\n"
    )
    run.check_good_end()
    share = 100 * run_us(run, "light") / (run_us(run, "light") + run_us(run, "heavy"))
    assert 23 <= share <= 27, f"{share}\n{run}"


def test_cap_and_affinity(boot):
    """A capped VM leaves its CPU idle; a pinned one never moves; unpinned ones use the other CPU."""
    run = boot(
        f"{SPIN} vm=capped mem=4M affinity=1 cap=30 limit=1000\n{SPIN} vm=pinned mem=4M affinity=0 limit=1000\n", cpus=2
    )
    run.check_good_end()
    assert 270_000 <= run_us(run, "capped") <= 330_000, str(run)
    assert 950_000 <= run_us(run, "pinned") <= 1_050_000, str(run)
    for name in ("capped", "pinned"):
        assert run.event("vm stats", name=name)["migrations"] == "0", str(run)


def test_ready_vcpus_move_to_an_idle_cpu(boot):
    """Two long spinners start on different CPUs beside short ones; whoever is left shares out the CPUs again."""
    short = "".join(f"{SPIN} vm=short{n} mem=2M limit=300\n" for n in range(4))
    run = boot(f"{SPIN} vm=long0 mem=4M limit=1200\n{short}{SPIN} vm=long1 mem=4M limit=1200\n", cpus=2)
    run.check_good_end()
    # After the short ones have gone each long one has a CPU of its own: at least 0.85 s of the last 0.9 s.
    assert run_us(run, "long0") > 850_000 and run_us(run, "long1") > 850_000, str(run)


def test_halted_vcpu_costs_nothing(boot):
    """The timer guest sleeps in HLT between its ticks: the spinner has nearly the whole CPU."""
    run = boot(f"{SPIN} vm=spin mem=4M limit=500\nbuild/guests/timer.elf vm=timer mem=4M -- ticks=50\n")
    run.check_good_end()
    assert run_us(run, "spin") > 350_000, str(run)


def test_each_way_to_end(boot):
    ways = {
        "exit": "exit",
        "poweroff": "poweroff",
        "poweroff2": "poweroff",
        "shutdown": "poweroff",
        "halt": "halt",
        "reset": "reset",
        "keyboard": "reset",
        "port92": "reset",
    }
    run = boot("".join(f"build/guests/ends.elf vm={way} mem=2M -- how={way}\n" for way in ways), cpus=2)
    assert run.reasons() == ways, str(run)
    run.check_fail_end()  # a reset is not an end by the VM's own will


def test_exit_status_is_the_guests(boot):
    run = boot("build/guests/ends.elf vm=seven mem=2M -- how=exit status=7\n")
    stop = run.event("vm stop", name="seven")
    assert (stop["reason"], stop["status"]) == ("exit", "7")
    run.check_fail_end()


def test_many_vms_on_two_cpus(boot):
    count = 40
    run = boot("".join(f"build/guests/hello.elf vm=h{n} mem=2M\n" for n in range(count)), cpus=2)
    run.check_good_end()
    assert run.reasons() == {f"h{n}": "exit" for n in range(count)}


def test_vmx_can_be_entered_again(boot):
    run = boot("build/guests/hello.elf vm=hello mem=8M\n", "test=vmx-again", cpus=2)
    run.check_good_end()
    assert [again["again"] for again in run.events("vmx")] == ["ok", "ok"], str(run)


def test_first_entry_is_early(boot):
    run = boot("build/guests/hello.elf vm=hello mem=8M\n", cpus=2)
    assert 0 < int(run.event("first entry")["ticks"]) < 20_000_000, str(run)


def test_vm_memory_overhead(boot):
    run = boot("build/guests/hello.elf vm=hello mem=8M\n", cpus=2)
    assert 0 < int(run.event("vm memory", name="hello")["overhead_bytes"]) <= 32 * 1024, str(run)


