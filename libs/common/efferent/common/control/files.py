"""Files in the log."""

from typing import Final

from efferent.common.control.collection import Collection
from efferent.common.domain.control import file
from efferent.common.domain.control.file import FILE, FileCommand
from efferent.common.domain.resources.file import File

FILES: Final[Collection[File, FileCommand]] = Collection(FILE, file.decide, file.not_found)
