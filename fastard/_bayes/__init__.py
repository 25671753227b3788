"""Fully Bayesian: the posterior distribution of the hyperparameters, and predictions averaged over it.

density      The log posterior density of the free logarithms, and its gradient.
nuts         The chains, by nutpie.
convergence  Have they converged? R-hat and effective sample sizes.
model        What is asked of the draws: intervals, relevance, predictions.
archive      The draws to a file.
storage      load(): the draws, or any other model, from a file.
conversion   The draws as ArviZ has them.
sampling     From the arguments to all of these.
"""
