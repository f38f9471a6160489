"""The order in which rows are made and the byte at which each lives, with proof that no two meet."""
