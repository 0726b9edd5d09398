"""Jobs: their kinds, and an attempt at one."""
