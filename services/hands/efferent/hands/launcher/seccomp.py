"""The system calls that code in a sandbox may not make, as a classic BPF program for the kernel's seccomp.

Written out here because no library that assembles such programs is in every Python's reach. The table names what each
entry is for; numbers are those of the kernel's headers. Needs only the standard library: the launcher imports it.
"""

import platform
import struct
from dataclasses import dataclass
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from typing import Final

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000

# Offsets in struct seccomp_data; arguments are 64 bits wide and both machines are little-endian.
_NUMBER_AT: Final = 0
_MACHINE_AT: Final = 4
_ARGUMENT_0_AT: Final = 16
_ARGUMENT_1_AT: Final = 24

_CLONE_NEWUSER: Final = 0x10000000
_TTY_INJECTIONS: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_X32_NUMBERS_FROM: Final = 0x40000000
_SOCKET_FAMILIES: Final = (1, 2, 10, 16)  # unix, inet, inet6, netlink: vsock and others ignore network namespaces


@dataclass(frozen=True, slots=True)
class _Machine:
    audit_arch: int
    column: int
    clone: int
    unshare: int
    ioctl: int
    socket: int
    has_x32: bool


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 0, clone=56, unshare=272, ioctl=16, socket=41, has_x32=True),
    "aarch64": _Machine(0xC00000B7, 1, clone=220, unshare=97, ioctl=29, socket=198, has_x32=False),
}

_CLONE3: Final = 435
"""Its flags lie in memory that a filter cannot read: answered "not implemented", so that libc falls back to clone."""

_DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # the mount family, and ways around it
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "setns": (308, 268),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # kernel keyrings are not namespaced
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # large attack surface that tools do not need
    "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18), "modify_ldt": (154, None), "iopl": (172, None), "ioperm": (173, None),
    "uselib": (134, None), "nfsservctl": (180, 42),
    # the kernel itself and the machine
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "vhangup": (153, 58),
}  # fmt: skip


def program(machine: str | None = None) -> bytes | None:
    """The filter as ``struct sock_filter[]`` for this (or the named) machine; None where there is no table for it."""
    if (found := _MACHINES.get(machine or platform.machine())) is None:
        return None
    denied = [numbers[found.column] for numbers in _DENIED.values()]
    lines = [
        _line(_LOAD, _MACHINE_AT),
        _line(_JUMP_EQUAL, found.audit_arch, when_true=1),
        _line(_RETURN, _KILL_PROCESS),
        _line(_LOAD, _NUMBER_AT),
    ]
    if found.has_x32:
        lines += [_line(_JUMP_AT_LEAST, _X32_NUMBERS_FROM, when_false=1), _line(_RETURN, _ERRNO | ENOSYS)]
    for number in denied:
        if number is not None:
            lines += [_line(_JUMP_EQUAL, number, when_false=1), _line(_RETURN, _ERRNO | EPERM)]
    lines += [_line(_JUMP_EQUAL, _CLONE3, when_false=1), _line(_RETURN, _ERRNO | ENOSYS)]
    lines += _new_user_namespace(found.clone) + _new_user_namespace(found.unshare)
    lines += _tty_injection(found.ioctl) + _socket_families(found.socket)
    lines.append(_line(_RETURN, _ALLOW))
    return b"".join(lines)


def _line(code: int, value: int, *, when_true: int = 0, when_false: int = 0) -> bytes:
    """One ``struct sock_filter``; jumps count the lines that are skipped."""
    return struct.pack("<HBBI", code, when_true, when_false, value)


def _new_user_namespace(number: int) -> list[bytes]:
    """Deny a call whose first argument asks for a new user namespace. Ends with the call's number loaded again."""
    body = [
        _line(_LOAD, _ARGUMENT_0_AT),
        _line(_JUMP_ANY_BIT, _CLONE_NEWUSER, when_false=1),
        _line(_RETURN, _ERRNO | EPERM),
        _line(_LOAD, _NUMBER_AT),
    ]
    return [_line(_JUMP_EQUAL, number, when_false=len(body)), *body]


def _tty_injection(number: int) -> list[bytes]:
    """Deny typing into somebody's terminal."""
    body = [_line(_LOAD, _ARGUMENT_1_AT)]
    for request in _TTY_INJECTIONS:
        body += [_line(_JUMP_EQUAL, request, when_false=1), _line(_RETURN, _ERRNO | EPERM)]
    body.append(_line(_LOAD, _NUMBER_AT))
    return [_line(_JUMP_EQUAL, number, when_false=len(body)), *body]


def _socket_families(number: int) -> list[bytes]:
    """Deny sockets of every family that is not listed."""
    count = len(_SOCKET_FAMILIES)
    body = [_line(_LOAD, _ARGUMENT_0_AT)]
    body += [_line(_JUMP_EQUAL, family, when_true=count - at) for at, family in enumerate(_SOCKET_FAMILIES)]
    body += [_line(_RETURN, _ERRNO | EAFNOSUPPORT), _line(_LOAD, _NUMBER_AT)]
    return [_line(_JUMP_EQUAL, number, when_false=len(body)), *body]
