"""``stopping fit``: a policy is learned from recorded runs."""
