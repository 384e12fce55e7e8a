"""Parts that modalities share on the way from a user's folder to training examples: listings, splits, the cache."""
