"""Which blob store the settings mean. The library of the S3 service is imported when it is used."""

from pathlib import Path
from typing import Final

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.ports import BlobStore
from efferent.common.runtime.settings import BlobSettings, secret_text

FOLDER: Final = "blobs"
"""In the data folder."""


def open_blobs(settings: BlobSettings, data_dir: Path) -> BlobStore:
    """The store; nothing is asked of it yet. Raises OSError when the file of a key cannot be read."""
    match settings.backend:
        case "local":
            return LocalFolderBlobs(data_dir / FOLDER)
        case "s3":
            return _s3(settings)


def _s3(settings: BlobSettings) -> BlobStore:
    from efferent.common.blobs.s3 import S3Address, S3Blobs

    return S3Blobs(
        S3Address(
            endpoint=settings.endpoint or "",
            bucket=settings.bucket or "",
            access_key=secret_text(settings.access_key, settings.access_key_file),
            secret_key=secret_text(settings.secret_key, settings.secret_key_file),
            region=settings.region,
            ca_file=settings.ca_file,
        )
    )
