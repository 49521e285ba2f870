"""``stopping doctor``: what a live OpenAI-compatible endpoint can do, measured."""
