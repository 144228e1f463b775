"""The failure that every reader of a model's stream shares."""


class StreamNonsense(Exception):
    """The stream is not what the wire format allows; the message says what."""
