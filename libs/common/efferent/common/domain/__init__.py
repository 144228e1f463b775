"""The pure domain: knows no clock, network, randomness or library but pydantic's shapes."""
