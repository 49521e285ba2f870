"""``stopping record``: run questions through a model to the end, and keep all that is seen."""
