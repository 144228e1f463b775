"""The tool ``write``: the whole content of a file, with the folders above it."""

import os

from efferent.hands.tools.failure import ToolFailure, reason
from efferent.hands.tools.places import Places, opened, write_all
from efferent.hands.tools.requests import Reply, Write, text_reply


def write(request: Write, places: Places) -> Reply:
    """Write the file. Raises ToolFailure."""
    try:
        os.makedirs(os.path.dirname(places.real(request.file_path)) or "/", exist_ok=True)
    except OSError as error:
        raise ToolFailure(f"{request.file_path}: the folder above it: {reason(error)}") from error
    data = request.content.encode(errors="replace")
    with opened(places, request.file_path, os.O_WRONLY | os.O_CREAT) as descriptor:
        write_all(descriptor, data)
    return text_reply(f"Wrote {len(data)} bytes to {request.file_path}")
