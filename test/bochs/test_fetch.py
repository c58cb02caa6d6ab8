# SPDX-License-Identifier: BSD-2-Clause
"""What tools/fetch-payloads does when an archive has moved on, and that the tests of what is gone are skipped by name.
No machine is booted."""
import gzip
import os
import shutil
import subprocess

import pytest

import machine

# apt as it is when the lists say this; `update` turns to the second set, or fails.
APT_CACHE = """\
#!/bin/sh
lists=$(cat lists 2>/dev/null || echo old)
case "$1 $2" in
"policy multiboot") [ "$lists" = "$HAS" ] && echo "  Candidate: 1.0" || echo "  Candidate: (none)" ;;
"policy linux-image-amd64") echo "  Candidate: 6.1" ;;
"policy gnumach-image-1-486") [ "$APT_CONFIG" ] && echo "  Candidate: $I386" || echo "  Candidate: 1.8" ;;
"depends linux-image-amd64") echo "  Depends: linux-image-6.1.0-$lists-amd64" ;;
esac
"""
APT_GET = """\
#!/bin/sh
case $1 in
indextargets) printf 'deb http://x/ s-updates main\ndeb http://x/ s main\n' ;;
update) [ -z "$OFFLINE" ] && echo new >"$TREE/lists" ;;
download)
    case $3 in
    multiboot | linux-image-6.1.0-new-amd64) cp "$TREE/x.deb" . ;;
    gnumach-image-1-486) cp "$TREE/mach${APT_CONFIG:+32}.deb" . ;;
    *) echo "E: 404 Not Found" && exit 100 ;;
    esac
    ;;
esac
"""
SUDO = '#!/bin/sh\nexec "$@"\n'


@pytest.fixture
def tree(tmp_path):
    """A copy of the tool, and a package with the files of two payloads."""
    for folder in ("bin", "tools", "deb/DEBIAN", "deb/boot", "deb/usr/lib/multiboot/examples"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(os.path.join(machine.TREE, "tools/fetch-payloads"), tmp_path / "tools")
    for name, text in (("apt-cache", APT_CACHE), ("apt-get", APT_GET), ("sudo", SUDO)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "deb/DEBIAN/control").write_text("Package: x\nVersion: 1\nArchitecture: all\n"
                                                 "Maintainer: x <x@x>\nDescription: x\n")
    (tmp_path / "deb/usr/lib/multiboot/examples/kernel").write_text("the example")
    (tmp_path / "deb/boot/vmlinuz-6.1.0-new-amd64").write_text("the kernel")
    subprocess.run(["dpkg-deb", "-b", "deb", "x.deb"], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def fetch(tree, *groups, **environment):
    variables = dict(os.environ, PATH=f"{tree}/bin:{os.environ['PATH']}", TREE=str(tree), **environment)
    return subprocess.run(["tools/fetch-payloads", *groups], cwd=tree, env=variables, capture_output=True, text=True,
                          check=False)


def test_fetches_from_the_lists_that_are_there(tree):
    assert fetch(tree, "multiboot", HAS="old", OFFLINE="yes").returncode == 0
    assert (tree / "build/payloads/multiboot-kernel").read_text() == "the example"
    assert not (tree / "lists").exists()


def test_updates_lists_that_name_a_kernel_which_is_gone(tree):
    """After a point release: the metapackage must be asked again."""
    assert fetch(tree, "linux-standard").returncode == 0
    assert (tree / "build/payloads/vmlinuz").read_text() == "the kernel"


def test_a_package_that_is_gone_is_named(tree):
    result = fetch(tree, "multiboot", HAS="never")
    assert result.returncode == 3
    assert "this Debian release has no package multiboot; tests with build/payloads/multiboot-kernel" in result.stderr
    assert os.listdir(tree / "build/payloads") == ["multiboot-kernel.missing"]
    assert fetch(tree, "multiboot", HAS="new").returncode == 0
    assert os.listdir(tree / "build/payloads") == ["multiboot-kernel"]


@pytest.fixture
def mach(tree):
    """A kernel of each architecture."""
    for name in ("mach", "mach32"):
        shutil.copytree(tree / "deb/DEBIAN", tree / name / "DEBIAN")
        (tree / name / "boot").mkdir()
        (tree / name / "boot/gnumach-1.8.gz").write_bytes(gzip.compress(name.encode()))
        subprocess.run(["dpkg-deb", "-b", name, f"{name}.deb"], cwd=tree, check=True, capture_output=True)
    return tree


def test_another_architecture_has_lists_of_its_own(mach):
    assert fetch(mach, "gnumach", I386="1.8").returncode == 0
    payloads = mach / "build/payloads"
    assert (payloads / "gnumach.elf").read_text() == "mach" and (payloads / "gnumach32.elf").read_text() == "mach32"
    assert (payloads / "i386/sources.list").read_text() == "deb http://x/ s main\n"


def test_a_release_without_the_other_architecture(mach):
    assert fetch(mach, "gnumach", I386="(none)").returncode == 3
    payloads = mach / "build/payloads"
    assert (payloads / "gnumach.elf").exists() and (payloads / "gnumach32.elf.missing").exists()
    assert not (payloads / "gnumach32.gz.missing").exists()


@pytest.mark.parametrize("group", ("multiboot", "linux-standard"))
def test_without_the_archive_nothing_is_said_to_be_gone(tree, group):
    result = fetch(tree, group, HAS="never", OFFLINE="yes")
    assert result.returncode == 1 and "by hand" in result.stderr and "release has no" not in result.stderr
    assert os.listdir(tree / "build/payloads") == []


def test_tests_of_a_missing_payload_are_skipped_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "TREE", str(tmp_path))
    (tmp_path / "build/payloads").mkdir(parents=True)
    (tmp_path / "build/payloads/gone.elf.missing").write_text("this Debian release has no package gone\n")
    machine.need("build/payloads/other.elf vm=a\nbuild/guests/gone.elf vm=b\n")
    with pytest.raises(pytest.skip.Exception, match="build/payloads/gone.elf: this Debian release has no package gone"):
        machine.run_tool("run-bochs", "build/payloads/gone.elf vm=gone mem=8M\n", [])
    (tmp_path / "build/payloads/gone.elf").write_text("put there by hand")
    machine.need("build/payloads/gone.elf vm=a\n")
