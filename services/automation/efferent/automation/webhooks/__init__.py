"""Webhooks: what the committed records cause is delivered to the endpoints that asked for it."""
