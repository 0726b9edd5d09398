"""Routes: they parse, call the service and answer."""
