"""``efferent backup`` and ``efferent restore``: the whole state of a server in one encrypted file, and back."""
