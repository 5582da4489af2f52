#!/usr/bin/env python3
"""Mounts an EROFS image file and its external devices, all plain files, with fsopen(2) and fsconfig(2): mount(8) would
put a loop device in between, with which "device=" fails, and mount(2) takes a page of options only.

usage: erofsmount.py IMAGE DIR [DEVICE...]        exit code 77 when the kernel can't
       erofsmount.py --tags IMAGE                 prints the device table's tags, one a line
"""
import ctypes
import errno
import os
import struct
import sys

SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 429, 430, 431, 432  # the same on every architecture
SET_FLAG, SET_STRING, CMD_CREATE = 0, 1, 6
MOUNT_ATTR_RDONLY_NOSUID_NODEV, F_EMPTY_PATH = 1 | 2 | 4, 4
AT_FDCWD = -100


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


def call(number, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    r = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r


def mount(image, directory, devices):
    fs = call(SYS_FSOPEN, b"erofs", 0)
    call(SYS_FSCONFIG, fs, SET_STRING, b"source", os.fsencode(image), 0)
    call(SYS_FSCONFIG, fs, SET_FLAG, b"ro", None, 0)
    for d in devices:
        call(SYS_FSCONFIG, fs, SET_STRING, b"device", os.fsencode(d), 0)
    call(SYS_FSCONFIG, fs, CMD_CREATE, None, None, 0)
    mnt = call(SYS_FSMOUNT, fs, 0, MOUNT_ATTR_RDONLY_NOSUID_NODEV)
    call(SYS_MOVE_MOUNT, mnt, b"", AT_FDCWD, os.fsencode(directory), F_EMPTY_PATH)


def main():
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "--tags":
        print("\n".join(device_tags(sys.argv[2])))
        return 0
    try:
        mount(sys.argv[1], sys.argv[2], sys.argv[3:])
    except OSError as e:
        print(f"erofsmount: {e.strerror}", file=sys.stderr)
        return 77 if e.errno in (errno.ENODEV, errno.ENOTBLK, errno.EPERM, errno.ENOSYS) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
