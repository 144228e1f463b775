"""The control plane for every service: aggregates read from and written to the log, one mechanism for all kinds."""
