"""API keys, limits of owners, and the audit log."""
