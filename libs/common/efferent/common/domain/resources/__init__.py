"""API resources as they are stored and answered: frozen models, one file per resource."""
