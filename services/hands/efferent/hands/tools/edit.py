"""The tool ``edit``: one string in a file becomes another, and never a different one than was meant."""

import os
from typing import Final

from efferent.hands.tools.failure import ToolFailure
from efferent.hands.tools.places import Places, opened, read_up_to, write_all
from efferent.hands.tools.requests import Edit, Reply, text_reply

FILE_BYTES_MAX: Final = 16 * 1024 * 1024


def edit(request: Edit, places: Places) -> Reply:
    """Edit the file. Raises ToolFailure."""
    old, new = request.old_string.encode(errors="replace"), request.new_string.encode(errors="replace")
    if not old:
        raise ToolFailure("old_string is empty; use write to make a new file")
    if old == new:
        raise ToolFailure("old_string and new_string are the same")
    with opened(places, request.file_path, os.O_RDWR) as descriptor:
        data = read_up_to(descriptor, FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ToolFailure(f"{request.file_path}: is larger than {FILE_BYTES_MAX} bytes and cannot be edited")
        count = data.count(old)
        if count == 0:
            raise ToolFailure(f"{request.file_path}: old_string does not occur")
        if count > 1 and not request.replace_all:
            raise ToolFailure(
                f"{request.file_path}: old_string occurs {count} times; add lines around it or set replace_all"
            )
        write_all(descriptor, data.replace(old, new))
    return text_reply(f"Replaced {count} occurrence{'s' if count > 1 else ''} in {request.file_path}")
