"""One command a figure."""
