"""Bars, timeframes, calendars and synthetic markets."""
