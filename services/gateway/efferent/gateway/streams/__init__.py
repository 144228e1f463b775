"""Live events: how they reach the gateway, and how they go on to readers."""
