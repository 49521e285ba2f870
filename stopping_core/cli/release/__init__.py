"""``stopping promote`` and ``stopping rollback``: which certificate is in use."""
