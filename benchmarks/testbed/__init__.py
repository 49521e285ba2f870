"""The synthetic testbed: a small reasoning model, trained from scratch on made-up problems."""
