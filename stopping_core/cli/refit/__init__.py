"""``stopping refit``: what production recorded, fitted, certified, compared, promoted."""
