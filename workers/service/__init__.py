"""The operations that clients can call."""
