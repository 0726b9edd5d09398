"""Kinds of job and one attempt at a job."""
