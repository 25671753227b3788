"""What can be maximised or asked for at given hyperparameters: each objective is a file."""
