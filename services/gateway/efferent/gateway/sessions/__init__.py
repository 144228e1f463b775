"""Sessions as the gateway keeps them: their states, their index for lists, and what clients may send."""
