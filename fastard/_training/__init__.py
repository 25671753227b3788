"""From data to a trained model: fit, the search, priors."""
