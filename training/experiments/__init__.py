"""The experiments of the paper, and others like them: a declared grid of trainings, and the table it ends in.

`grid` is what a question asks for, `grid_file` reads it from YAML; `cells` are the single trainings and `plan` makes
them of a grid, refusing what cannot work. `sides` are the recordings that models are scored on; `run` trains the cells,
`ray_grid` on a cluster, and `score` keeps what each answers. `intervals` says how sure a figure is, `results` gathers
the rows, `table` and `plot` show them. Read in that order.
"""
