"""One table of what a network costs on every target, beside what other tools make of it."""
