"""The work queues of self-hosted environments."""
