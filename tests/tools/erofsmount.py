#!/usr/bin/env python3
"""Mounts an EROFS image file and its external devices, all plain files, with mount(2): mount(8) would put a loop device
in between, with which "device=" fails.

usage: erofsmount.py IMAGE DIR [DEVICE...]        exit code 77 when the kernel can't
       erofsmount.py --tags IMAGE                 prints the device table's tags, one a line
"""
import ctypes
import errno
import os
import struct
import sys

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4


def device_tags(image):
    """The tag of every slot of the device table."""
    with open(image, "rb") as f:
        f.seek(1024)
        sb = f.read(128)
        if struct.unpack_from("<I", sb, 0)[0] != 0xE0F5E1E2:
            raise ValueError(f"{image}: not EROFS")
        n, slot = struct.unpack_from("<HH", sb, 86)
        f.seek(slot * 128)
        table = f.read(n * 128)
    return [table[i * 128:i * 128 + 64].rstrip(b"\0").decode() for i in range(n)]


def mount(image, directory, devices):
    """0, or an errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    data = ",".join(f"device={d}" for d in devices).encode()
    r = libc.mount(os.fsencode(image), os.fsencode(directory), b"erofs", MS_RDONLY | MS_NOSUID | MS_NODEV, data)
    return 0 if r == 0 else ctypes.get_errno()


def main():
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "--tags":
        print("\n".join(device_tags(sys.argv[2])))
        return 0
    e = mount(sys.argv[1], sys.argv[2], sys.argv[3:])
    if not e:
        return 0
    print(f"erofsmount: {os.strerror(e)}", file=sys.stderr)
    return 77 if e in (errno.ENODEV, errno.ENOTBLK, errno.EPERM) else 1


if __name__ == "__main__":
    sys.exit(main())
