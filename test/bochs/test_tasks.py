# SPDX-License-Identifier: BSD-2-Clause
"""Hardware task switches: guests/tasks checks in a VM what it finds on a bare machine, too."""
import pytest

import vms


@pytest.mark.engines
@pytest.mark.parametrize("model", (vms.MODELS[0], vms.MODELS[-1]))
def test_tasks(boot, model):
    run = boot("build/guests/tasks.elf vm=tasks mem=8M\n"
               "build/guests/tasks.elf vm=virtual mem=8M cpus=2 apicv=on\n"
               "build/guests/spinner.elf vm=neighbour mem=4M limit=50\n", model=model)
    run.check_good_end()
    for name in ("tasks", "virtual"):
        vms.check_guest(run, name, "tasks.elf")
