"""The tool ``read``: text as it stands, images and PDF files as blocks that a model can look at."""

import base64
import os
from typing import Final

from efferent.hands.tools.failure import ToolFailure
from efferent.hands.tools.places import Places, opened, read_up_to
from efferent.hands.tools.requests import Read, Reply, text_reply

TEXT_BYTES_MAX: Final = 256 * 1024
IMAGE_BASE64_BYTES_MAX: Final = 5 * 1024 * 1024
PDF_BYTES_MAX: Final = 20 * 1024 * 1024
RANGE_SCAN_BYTES_MAX: Final = 1024 * 1024 * 1024
"""How far into a file a view_range is looked for."""

_SNIFF_BYTES: Final = 8192
_CHUNK_BYTES: Final = 1 << 20


def read(request: Read, places: Places) -> Reply:
    """Read the file. Raises ToolFailure."""
    with opened(places, request.file_path, os.O_RDONLY) as descriptor:
        start = read_up_to(descriptor, _SNIFF_BYTES)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if (media_type := _media_type(start)) is not None:
            return _binary(request, descriptor, media_type)
        if b"\0" in start:
            raise ToolFailure(f"{request.file_path}: is a binary file that is neither an image nor a PDF")
        if request.view_range is None:
            return _whole(request, descriptor)
        return _lines(request, descriptor, *request.view_range)


def _media_type(start: bytes) -> str | None:
    """What the first bytes say that the file is; None for everything that is read as text."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return "application/pdf" if start.startswith(b"%PDF-") else None


def _binary(request: Read, descriptor: int, media_type: str) -> Reply:
    if request.view_range is not None:
        raise ToolFailure("view_range works on text, not on images and PDF files")
    is_pdf = media_type == "application/pdf"
    bytes_max = PDF_BYTES_MAX if is_pdf else IMAGE_BASE64_BYTES_MAX * 3 // 4
    if (size := os.fstat(descriptor).st_size) > bytes_max:
        raise ToolFailure(f"{request.file_path}: is {size} bytes; at most {bytes_max} can be read of this kind of file")
    data = base64.b64encode(read_up_to(descriptor, bytes_max)).decode()
    source = {"type": "base64", "media_type": media_type, "data": data}
    return Reply(({"type": "document" if is_pdf else "image", "source": source},))


def _whole(request: Read, descriptor: int) -> Reply:
    data = read_up_to(descriptor, TEXT_BYTES_MAX + 1)
    if len(data) > TEXT_BYTES_MAX:
        size = max(os.fstat(descriptor).st_size, len(data))
        raise ToolFailure(
            f"{request.file_path}: is {size} bytes; at most {TEXT_BYTES_MAX} are read at once. "
            "Use view_range to read a part."
        )
    return text_reply(data.decode(errors="replace") or "(the file is empty)")


def _lines(request: Read, descriptor: int, first: int, last: int) -> Reply:
    if first < 1 or 0 < last < first:
        raise ToolFailure(
            "view_range must be [first line, last line], counted from 1; a last line <= 0 means to the end"
        )
    kept = _slice(descriptor, first, last)
    if len(kept) > TEXT_BYTES_MAX:
        raise ToolFailure(f"these lines are more than {TEXT_BYTES_MAX} bytes; ask for fewer")
    if not kept:
        raise ToolFailure(f"{request.file_path}: has no line {first}")
    return text_reply(kept.removesuffix(b"\n").decode(errors="replace") or "(the lines are empty)")


def _slice(descriptor: int, first: int, last: int) -> bytes:
    """The bytes of the lines; a little more than ``TEXT_BYTES_MAX`` of them when there are more."""
    kept = bytearray()
    line, left = 1, RANGE_SCAN_BYTES_MAX
    with open(descriptor, "rb", closefd=False) as file:
        while left > 0 and len(kept) <= TEXT_BYTES_MAX and (last <= 0 or line <= last):
            if not (piece := file.readline(_CHUNK_BYTES)):
                break
            left -= len(piece)
            if line >= first:
                kept += piece
            line += piece.endswith(b"\n")
    return bytes(kept)
