"""Secrets at rest: envelope encryption, so that the log never holds a value that somebody could read or keep."""
