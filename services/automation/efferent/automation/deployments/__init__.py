"""Scheduled deployments: when they are due, and that each slot leads to one run."""
