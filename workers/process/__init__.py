"""Worker processes: what they do, and how they are started, scaled and stopped."""
