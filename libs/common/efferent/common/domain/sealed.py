"""A secret as the log holds it."""

from efferent.common.domain.content import Shape


class Sealed(Shape):
    """Ciphertext under a data key of its own; without that key it is noise."""

    key_id: str
    """Names the data key, which is kept elsewhere and can be destroyed."""
    nonce: str
    """Base64."""
    ciphertext: str
    """Base64, with the authentication tag at its end."""
