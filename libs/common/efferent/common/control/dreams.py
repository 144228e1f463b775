"""Dreams in the log."""

from typing import Final

from efferent.common.control.collection import Collection
from efferent.common.domain.control import dream
from efferent.common.domain.control.dream import DREAM, DreamCommand
from efferent.common.domain.resources.dream import Dream

DREAMS: Final[Collection[Dream, DreamCommand]] = Collection(DREAM, dream.decide, dream.not_found)
