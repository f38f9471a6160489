"""The machine that listens: what it is (`identity`)."""
