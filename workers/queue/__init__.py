"""The job queue on Redis."""
