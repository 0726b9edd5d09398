"""Files of bars and results, in a local folder or a bucket."""
