"""Which media type a file has when nobody said it, the same on every machine: the system's own lists are not read."""

import mimetypes
from typing import Final

from efferent.common.domain.control.file import MIME_TYPE_DEFAULT

_MORE: Final = {
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


def _known() -> mimetypes.MimeTypes:
    types = mimetypes.MimeTypes(filenames=())
    for extension, media_type in _MORE.items():
        types.add_type(media_type, extension)
    return types


_KNOWN: Final = _known()


def media_type_of(filename: str) -> str:
    """What the extension says; ``application/octet-stream`` when it says nothing, or the file is compressed."""
    guessed, encoding = _KNOWN.guess_type(f"x{filename[filename.rfind('.') :]}" if "." in filename else "")
    return guessed if guessed is not None and encoding is None else MIME_TYPE_DEFAULT


def extension_of(media_type: str) -> str:
    """The usual extension, with its dot; empty when there is none."""
    plain = media_type.partition(";")[0].strip().lower()
    return "" if plain == MIME_TYPE_DEFAULT else _KNOWN.guess_extension(plain) or ""
