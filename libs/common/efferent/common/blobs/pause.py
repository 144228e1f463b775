"""What keeps blobs in place while a backup reads them: whoever sweeps blobs that no record names holds this lease."""

from typing import Final

SWEEP_LEASE: Final = "blob-sweep"
"""Held by a sweep while it deletes, and by a backup while it reads: never both at once."""
