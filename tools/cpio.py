# SPDX-License-Identifier: BSD-2-Clause
"""Writes archives as Linux takes them for an initramfs (cpio, "newc"), without root's rights.

The same input gives the same bytes.
"""
import stat

DIRECTORY, FILE, PROGRAM, LINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777
CHARACTER_DEVICE = stat.S_IFCHR | 0o600


def entry(name, mode, data=b"", device=(0, 0), inode=0):
    encoded = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def archive(members):
    """members: (name, mode, data, device) each, the last two if they are needed; folders before what is in them."""
    parts = [entry(member[0], *member[1:], inode=number) for number, member in enumerate(members, 1)]
    return b"".join(parts + [entry("TRAILER!!!", 0)])
