# SPDX-License-Identifier: BSD-2-Clause
"""What a hostile neighbour takes of a guest's time: on its own CPU no more than its share, on another nothing."""
import re

import pytest

pytestmark = pytest.mark.engines

GAP = "build/guests/gap.elf vm={name} mem=4M affinity={cpu} limit=60000 -- ms=1000\n"
HOSTILE = ("build/guests/hostile.elf vm=hostile-with-a-long-name mem=4M affinity=0 {keys} weight=1 "
           "-- attack={name} ms=900\n")
ATTACKS = {
    "flood": "cpus=1",    # console hypercalls: 7.1 s without a switch, once
    "timer": "cpus=1",    # wakes every 20 us
    "blocked": "cpus=1",  # a timer every 20 us whose interrupt is never taken
    "ipi": "cpus=2",      # IPIs of all vectors to a vCPU that takes none
}
SHARE = 100 / 101  # of weight 100 beside weight 1
LOSS = 0.03        # beyond that
SLICE_US = 12000
OTHER_CPU_US = 1000


def seen(run, name):
    """(longest time without running in us, loops)"""
    found = re.search(r"gap worst_us=(\d+) loops=(\d+)", "\n".join(run.output(name)))
    assert found, str(run)
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("attack", ATTACKS)
def test_time_is_contained(boot, attack):
    lines = GAP.format(name="same", cpu=0) + GAP.format(name="other", cpu=1)
    run = boot(lines + HOSTILE.format(keys=ATTACKS[attack], name=attack), cpus=2)
    run.check_good_end()
    same_gap, same_loops = seen(run, "same")
    other_gap, other_loops = seen(run, "other")
    assert same_loops >= (SHARE - LOSS) * other_loops, f"{same_loops} of {other_loops} loops\n{run}"
    assert same_gap <= SLICE_US, run
    assert other_gap <= OTHER_CPU_US, run


def test_the_end_of_a_large_vm_holds_up_nobody(boot):
    """Its memory is zeroed in pieces, by CPUs that have nothing else to do, and all of it before the run's end."""
    lines = GAP.format(name="same", cpu=0) + GAP.format(name="other", cpu=1)
    run = boot(lines + "build/guests/hello.elf vm=large mem=300M affinity=0\n", cpus=2, memory=512)
    run.check_good_end()
    assert run.reasons()["large"] == "exit"
    assert seen(run, "same")[0] <= SLICE_US, run
    assert seen(run, "other")[0] <= OTHER_CPU_US, run
