"""Vector stores: searches are retrievals, and what puts embeddings into them is recorded beside."""
