"""Adapters: the only place in the brain that knows a provider or a wire. Composed in `app.py` alone."""
