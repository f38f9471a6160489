"""How each family of kernels wants its constants packed; the kernels themselves are `../c/ts_kernels_*.c`.

Read `scalar` first: it is the layout of the graph, and what every other family has to equal.
"""
