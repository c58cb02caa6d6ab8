# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures: a machine is booted once for all tests of a file that ask for the same one."""
import functools
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import machine  # noqa: E402

LONGEST = ("test_kvm.py", "test_payloads.py", "test_linux.py")


def pytest_addoption(parser):
    parser.addoption("--engine", metavar="bochs2|bochs3|PATH",
                     help="another Bochs than the system's, as run-bochs has it")


def pytest_configure(config):
    """All that boots something in Bochs, by whatever tool, obeys the environment."""
    config.addinivalue_line("markers", "engines: make test runs this one on the second engine, too")
    config.addinivalue_line("markers", "engine_fault: make test leaves it out on the second engine, whose known fault "
                                       "makes it fail now and then; make test-engines runs it")
    engine = machine.engine
    if config.getoption("--engine"):
        os.environ[engine.VARIABLE] = config.getoption("--engine")
    try:
        engine.program(engine.chosen())
    except engine.EngineError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header():
    return f"engine: {machine.engine_name()}"


def pytest_collection_modifyitems(items):
    """The files that take longest begin first, so that no CPU is idle while another works on the last of them."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def boot():
    return functools.lru_cache(maxsize=None)(machine.boot_bochs)


@pytest.fixture(scope="session")
def boot_qemu():
    return functools.lru_cache(maxsize=None)(machine.boot_qemu)


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    """The stand-in for the hypervisor that tests the tools."""
    folder = tmp_path_factory.mktemp("probe")
    elf, obj = str(folder / "probe.elf"), str(folder / "probe.o")
    source = os.path.join(machine.TREE, "test/bochs/probe.asm")
    subprocess.run(["nasm", "-f", "elf32", source, "-o", obj], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-n", "--no-warn-rwx-segments", "-Ttext", "0x100000", "-o", elf, obj],
                   check=True)
    return elf
