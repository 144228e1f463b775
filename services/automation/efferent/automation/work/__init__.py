"""Work items for the sessions of self-hosted environments."""
