"""What the command refuses, with a sentence that says what to do."""


class CommandError(Exception):
    """The command cannot be carried out; the message is one clear sentence for the person who typed it."""
