"""Metadata bags: their limits, and how an update merges into one."""

from collections.abc import Mapping
from typing import Final

from efferent.common.domain.refusals import InvalidRequest

PAIRS_MAX: Final = 16
KEY_LENGTH_MAX: Final = 64
VALUE_LENGTH_MAX: Final = 512


def merged(
    stored: Mapping[str, str], patch: Mapping[str, str | None], *, empty_deletes: bool = False, code: str | None = None
) -> dict[str, str]:
    """The bag after a patch: null deletes a key, with ``empty_deletes`` an empty text too.

    Raises InvalidRequest (with ``code``) when a key, a value or the bag is over its limit.
    """
    result = dict(stored)
    for key, value in patch.items():
        if value is None or (empty_deletes and value == ""):
            result.pop(key, None)
            continue
        if not 1 <= len(key) <= KEY_LENGTH_MAX:
            raise InvalidRequest(f"metadata: keys must be 1 to {KEY_LENGTH_MAX} characters long", code=code)
        if len(value) > VALUE_LENGTH_MAX:
            shown = f"metadata.{key}: must be at most {VALUE_LENGTH_MAX} characters long"
            raise InvalidRequest(shown, code=code)
        result[key] = value
    if len(result) > PAIRS_MAX:
        raise InvalidRequest(f"metadata: at most {PAIRS_MAX} pairs are allowed", code=code)
    return result
