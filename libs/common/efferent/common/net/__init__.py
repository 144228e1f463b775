"""Going out to addresses that a client named: which may be reached, and HTTP that reaches no others."""
