"""The demo: retrieval-augmented answers from an embedded model, on a text that Python carries."""
