"""Who may make a request."""
