"""Memory stores for every service: documents that agents keep from one session to the next."""
