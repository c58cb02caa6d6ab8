# SPDX-License-Identifier: BSD-2-Clause
"""What Rootlet executes for a guest: faults, operands and traps as on a bare machine."""
import pytest

import vms

pytestmark = pytest.mark.engines


def test_operands_and_traps(boot):
    run = boot("build/guests/operands.elf vm=operands mem=8M\nbuild/guests/traps.elf vm=traps mem=4M\n")
    vms.check_guest(run, "operands", "operands.elf")
    vms.check_guest(run, "traps", "traps.elf")
    run.check_good_end()
