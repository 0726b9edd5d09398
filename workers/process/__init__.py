"""Worker processes: started, scaled and stopped."""
