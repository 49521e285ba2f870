"""What the page shows, a file for each part of it."""
