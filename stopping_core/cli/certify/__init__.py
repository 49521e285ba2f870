"""``stopping certify``: what a learned policy loses is bounded, on runs it has not seen."""
