"""``stopping tune``: settings are searched for, tokens saved against right answers lost."""
