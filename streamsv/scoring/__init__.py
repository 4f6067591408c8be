"""From embeddings to evidence: cosine, calibrated log-likelihood ratios, and how good they are."""
