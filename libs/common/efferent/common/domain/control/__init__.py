"""The control plane's rules, pure: one file per resource, each with its commands and ``decide``."""
