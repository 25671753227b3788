"""Many points: the block Vecchia likelihood, and what is built on it."""
