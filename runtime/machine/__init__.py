"""The machine that listens.

What it is (`identity`), how it is at a moment (`throttle`, `state`), what a process takes of it (`usage`), a thread
that looks at it from time to time (`watch`), and whether figures measured on it may be quoted (`validity`).
"""
