"""A model server that does what the message says: the Messages API and the chat-completions API over HTTP.

Used by integration tests, the crash suite and the benchmark; see ``script`` for what a message may ask for.
"""

from tests.support.scripted_model.server import ScriptedModel

__all__ = ["ScriptedModel"]
