"""What only images have: sources, decoding, the transform, hashes, duplicates, quality. Nothing here imports Ray."""
