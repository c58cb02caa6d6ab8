# SPDX-License-Identifier: BSD-2-Clause
"""The browser is started once. test/run makes the site before; make site does, too."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bochs"))
import browser  # noqa: E402


@pytest.fixture(scope="session")
def chromium():
    started = browser.Browser()
    yield started
    started.quit()


@pytest.fixture
def page(chromium):
    """The browser at its usual size; what a page complained of is a failure."""
    chromium.look()
    chromium.complaints()
    yield chromium
    assert chromium.complaints() == []
