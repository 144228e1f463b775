"""The system call filter, run through an interpreter of its own language."""

import struct
from errno import EAFNOSUPPORT, ENOSYS, EPERM

import pytest

from efferent.hands.launcher.seccomp import program

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
MACHINES = {
    "x86_64": (
        0xC000003E,
        {"read": 0, "mount": 165, "clone": 56, "unshare": 272, "socket": 41, "ioctl": 16, "ptrace": 101},
    ),
    "aarch64": (
        0xC00000B7,
        {"read": 63, "mount": 40, "clone": 220, "unshare": 97, "socket": 198, "ioctl": 29, "ptrace": 117},
    ),
}


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the filter says to a call."""
    text = program(machine)
    assert text is not None
    lines = list(struct.iter_unpack("<HBBI", text))
    own = MACHINES[machine][0]
    data = struct.pack("<IIQ6Q", number, own if arch is None else arch, 0, *(arguments + (0,) * 6)[:6])
    at = accumulator = 0
    while True:
        code, when_true, when_false, value = lines[at]
        at += 1
        match code:
            case 0x20:
                [accumulator] = struct.unpack_from("<I", data, value)
            case 0x15:
                at += when_true if accumulator == value else when_false
            case 0x35:
                at += when_true if accumulator >= value else when_false
            case 0x45:
                at += when_true if accumulator & value else when_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(code)


@pytest.mark.parametrize("machine", MACHINES)
def test_filter_denies_what_it_should_and_nothing_else(machine: str) -> None:
    names = MACHINES[machine][1]
    assert verdict(machine, names["read"]) == ALLOW
    assert verdict(machine, names["mount"]) == ERRNO | EPERM
    assert verdict(machine, names["ptrace"]) == ERRNO | EPERM
    assert verdict(machine, 425) == ERRNO | EPERM
    assert verdict(machine, 435) == ERRNO | ENOSYS
    for call in ("clone", "unshare"):
        assert verdict(machine, names[call], 0x10000000 | 17) == ERRNO | EPERM
        assert verdict(machine, names[call], 0x01200011) == ALLOW
    for family in (1, 2, 10, 16):
        assert verdict(machine, names["socket"], family) == ALLOW
    for family in (0, 17, 38, 40):
        assert verdict(machine, names["socket"], family) == ERRNO | EAFNOSUPPORT
    assert verdict(machine, names["ioctl"], 0, 0x5412) == ERRNO | EPERM
    assert verdict(machine, names["ioctl"], 0, 0x5401) == ALLOW


def test_other_call_tables_are_closed() -> None:
    assert verdict("x86_64", 0, arch=0x40000003) == KILL
    assert verdict("x86_64", 0x40000000) == ERRNO | ENOSYS


def test_unknown_machine_has_no_filter() -> None:
    assert program("vax") is None
