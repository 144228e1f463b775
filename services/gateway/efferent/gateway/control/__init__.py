"""The control plane as the gateway sees it: aggregates written to the log, and their projection for lists."""
