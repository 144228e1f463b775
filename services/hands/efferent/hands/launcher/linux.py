"""System calls that Python has no words for. Everything here does nothing, or is not called, where it is not Linux."""

import ctypes
import os
import signal
import sys
from typing import Final

IS_LINUX: Final = sys.platform == "linux"

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000

_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITIES: Final = 64
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Be sent the signal when the parent dies; exit at once when it is dead already. Changing the uid undoes it."""
    if IS_LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    if IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def drop_capabilities() -> None:
    """Give up every capability for good."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the kernel's last one
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def become(uid: int) -> None:
    """Become this uid and gid, without further groups, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def own_mounts() -> None:
    """Leave the host's mount namespace for a copy whose changes nobody else sees."""
    os.unshare(CLONE_NEWNS)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)


def mount_tmpfs(folder: str) -> None:
    """An empty folder in memory, readable by all."""
    _mount("tmpfs", folder, "tmpfs", 0, "mode=0755,size=64k")


def bind(source: str, target: str) -> None:
    """Show the folder ``source`` at ``target`` as well."""
    _mount(source, target, None, _MS_BIND | _MS_REC, None)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) != 0:
        raise OSError(ctypes.get_errno(), f"mount of {target}")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
