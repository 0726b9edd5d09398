"""Files of bars and results, in a folder or a bucket."""
