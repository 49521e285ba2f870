"""The commands ``stopping replay`` and ``stopping bench``: policies over recorded runs."""
