"""What modalities share on the way from a user's folder to training examples: listing, splits, the cache's care."""
