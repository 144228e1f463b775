"""Firing deployments: by the gateway when somebody asks for a run, by the automation when a schedule is due."""
