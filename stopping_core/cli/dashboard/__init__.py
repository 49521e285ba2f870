"""``stopping dashboard``: a local page over the store of outcomes."""
