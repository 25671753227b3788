"""The trained model and all that it answers."""
