"""What each target runs of a network, and where it would fall back or fail: before training, and on the file."""
