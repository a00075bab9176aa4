"""Refuses what a container runtime's default profile refuses to a process without rights, as far as that
matters to a sandbox — new namespaces, mounts, tracing of kernels — and becomes the program that is named.

    python3 seccomp.py PROGRAM [ARGUMENT...]
"""

import ctypes
import os
import platform
import struct
import sys

# As the kernel numbers calls: clone, clone3, then those that are refused.
CALLS = {
    # unshare, setns, mount, umount2, pivot_root, bpf, perf_event_open, keyctl, add_key, request_key
    "x86_64": (56, 435, [272, 308, 165, 166, 155, 321, 298, 250, 248, 249]),
    "aarch64": (220, 435, [97, 268, 40, 39, 41, 280, 241, 219, 217, 218]),
}
LOAD, EQUAL, ANY, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE, EPERM, ENOSYS = 0x7FFF0000, 0x00050000, 1, 38
# the flags of clone that make namespaces
NAMESPACES = 0x7E020000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2


def program() -> bytes:
    """The filter, as instructions of the kernel's."""
    clone, clone3, refused = CALLS[platform.machine()]
    steps = [(LOAD, 0, 0, 0)]
    for call in refused:
        steps += [(EQUAL, 0, 1, call), (RETURN, 0, 0, REFUSE | EPERM)]
    # the C library goes on with clone, whose flags can be seen
    steps += [(EQUAL, 0, 1, clone3), (RETURN, 0, 0, REFUSE | ENOSYS)]
    # the first argument, where numbers begin with their low half
    steps += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (ANY, 0, 1, NAMESPACES)]
    steps += [(RETURN, 0, 0, REFUSE | EPERM), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def main() -> None:
    steps = program()
    buffer = ctypes.create_string_buffer(steps, len(steps))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]

    whole = Program(len(steps) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, FILTER, ctypes.byref(whole), 0, 0)]:
        if libc.prctl(*call) != 0:
            sys.exit(f"prctl {call[0]}: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
