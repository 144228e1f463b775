"""``replace`` for the domain's frozen dataclasses: the meaning and the type checks of ``dataclasses.replace``, quicker.

Folding replaces a few fields of a wide state for every event of a history; the library's version calls ``__init__``
with every field and costs twenty times as much. Works on dataclasses without slots and without ``__post_init__``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import replace
    from dataclasses import replace as change
else:
    _new, _set = object.__new__, object.__setattr__

    def replace(old, /, **changes):
        """A copy of the frozen dataclass with these fields changed."""
        new = _new(old.__class__)
        _set(new, "__dict__", old.__dict__ | changes)
        return new

    def change(own, /, **changes):
        """The same object with these fields changed: only for a copy that its caller made and has not yet given away.

        Use what it returns, as with ``replace``.
        """
        own.__dict__.update(changes)
        return own


__all__ = ["change", "replace"]
