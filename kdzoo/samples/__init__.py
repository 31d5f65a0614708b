"""What a loss is told of the samples of a batch, and what it remembers of them."""
