"""Adapters of the hands: the two sandbox backends and the client of the launcher."""
