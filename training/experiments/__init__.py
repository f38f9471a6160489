"""The experiments of the paper, and others like them: a declared grid of trainings, and the table it ends in."""
