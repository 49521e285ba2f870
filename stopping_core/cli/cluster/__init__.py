"""Work that is dealt out to processes of a Ray cluster."""
