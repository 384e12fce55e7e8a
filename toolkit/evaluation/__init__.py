"""Is it good? Distances between sets of features. Knows features, not modalities."""
