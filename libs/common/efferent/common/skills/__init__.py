"""Skills: archives that are checked when they come in, and versions that agents and sessions name."""
