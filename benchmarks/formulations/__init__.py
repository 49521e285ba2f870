"""Ways to put stopping as a learning problem, compared on the same features of recorded runs."""
