"""Files: their bytes and their metadata together."""
