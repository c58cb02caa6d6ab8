# SPDX-License-Identifier: BSD-2-Clause
"""Hardware task switches: guests/tasks checks in a VM what it finds on a bare machine, too."""
import pytest

import vms


@pytest.mark.engines
@pytest.mark.parametrize("model", (vms.MODELS[0], vms.MODELS[-1]))
def test_tasks(boot, model):
    run = boot("build/guests/tasks.elf vm=tasks mem=8M\nbuild/guests/spinner.elf vm=neighbour mem=4M limit=50\n",
               model=model)
    run.check_good_end()
    vms.check_guest(run, "tasks", "tasks.elf")
