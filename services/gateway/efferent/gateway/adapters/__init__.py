"""What the gateway knows of other services, behind their wire."""
