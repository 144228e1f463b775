"""The one error of the file tools: its text is the result that the model reads."""

import errno
from typing import Final

_REASONS: Final = {
    errno.ENOENT: "no such file or directory",
    errno.ENOTDIR: "not a directory",
    errno.EISDIR: "is a directory",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "too many levels of symbolic links",
    errno.EROFS: "is in a read-only folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EFBIG: "the file would be larger than the session's disk limit",
    errno.ENXIO: "not a regular file",
}


class ToolFailure(Exception):
    """A call that cannot be done; the message says why, in words for the model."""


def reason(error: OSError) -> str:
    """Why the system refused, in plain words."""
    return _REASONS.get(error.errno or 0, error.strerror or "input/output error")
