"""Who may ask an endpoint, for what and how often: one ASGI guard in front of every application."""
