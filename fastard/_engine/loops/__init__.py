"""The compiled loops: over pairs of points, and the factorisation and its schedule."""
