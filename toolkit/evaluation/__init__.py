"""Is it good? Metrics of samples, judges, likelihoods, and the comparison with what a recipe expects."""
