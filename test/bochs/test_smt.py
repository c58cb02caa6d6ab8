# SPDX-License-Identifier: BSD-2-Clause
"""Sibling threads, on a Bochs model that has them: smt=core never lets two VMs run on the threads of a core at once, by
the flight recorder; smt=share does; smt=off leaves second threads out."""
import pytest

import trace_model
import trace_record

# Two that compute, each on a thread of its own, and one that uses both threads.
VMS = """\
build/guests/compute.elf vm=sum1 mem=4M affinity=0 -- seed=1 ms=30
build/guests/compute.elf vm=sum2 mem=4M affinity=1 -- seed=9 ms=30
build/guests/smp.elf     vm=smp mem=4M cpus=2
"""


def guest_spans(run, cpu):
    """(start, end, VM) of each time in a guest, of those that are on record for all CPUs."""
    model = trace_model.Model(trace_record.read(run.lines))
    return sorted((max(span.start, model.all_known_from), span.end, each.vcpu >> 4)
                  for each in model.runs[cpu] for span in each.guest if span.end > model.all_known_from)


def overlaps(first, second):
    """Pairs of spans of two CPUs that are of different VMs and share a moment."""
    found, at = [], 0
    for start, end, vm in first:
        while at < len(second) and second[at][1] <= start:
            at += 1
        later = at
        while later < len(second) and second[later][0] < end:
            if second[later][2] != vm:
                found.append(((start, end, vm), second[later]))
            later += 1
    return found


@pytest.mark.parametrize("options", ("", "smt=core mitigations=off"))
def test_core(boot, options):
    """The default where the CPU does not deny all attacks by a sibling thread, as no model of Bochs 2.7 does."""
    run = boot(VMS, "trace=serial " + options, cpus=2, threads=2)
    run.check_good_end()
    assert run.event("smt") == {"policy": "core", "thread-bits": "1", "siblings": "1"}
    spans = [guest_spans(run, cpu) for cpu in range(2)]
    assert {vm for _, _, vm in spans[0]} >= {1, 3} and {vm for _, _, vm in spans[1]} >= {2, 3}, str(run)
    assert not overlaps(*spans)[:3]
    # The two that compute have had about the same, one after the other.
    times = [int(run.event("vm stats", name=name)["run_us"]) for name in ("sum1", "sum2")]
    assert max(times) < 2 * min(times), times


@pytest.mark.parametrize("options", ("smt=share", "mitigations=off"))
def test_share(boot, options):
    """There the same look finds what it looks for."""
    run = boot(VMS, "trace=serial " + options, cpus=2, threads=2)
    run.check_good_end()
    assert run.event("smt")["policy"] == "share"
    assert overlaps(*(guest_spans(run, cpu) for cpu in range(2)))


def test_siblings_of_two_cores(boot):
    run = boot(VMS, "trace=serial", cpus=4, threads=2)
    run.check_good_end()
    assert run.event("smt")["siblings"] == "2"
    spans = [guest_spans(run, cpu) for cpu in range(4)]
    assert not overlaps(spans[0], spans[1])[:3] and not overlaps(spans[2], spans[3])[:3]


def test_off(boot):
    run = boot(VMS.replace("affinity=1", "affinity=0"), "smt=off", cpus=4, threads=2)
    run.check_good_end()
    assert run.event("smt") == {"policy": "off", "thread-bits": "1", "siblings": "0"}
    assert run.event("cpus")["online"] == "2" and run.event("cpus")["listed"] == "4"


def test_without_siblings(boot):
    run = boot(VMS, "trace=serial", cpus=2)
    run.check_good_end()
    assert run.event("smt") == {"policy": "core", "thread-bits": "0", "siblings": "0"}
    assert overlaps(*(guest_spans(run, cpu) for cpu in range(2)))
