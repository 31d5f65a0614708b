"""Where the time and the memory of a training step go; reads no run and leaves none."""
