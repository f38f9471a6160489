"""What `tinyscene bench` measures.

`rows` times each part by itself. A live run is made by `runner`, in a `child` process that listens to a `loop` of
sound; `report` prints it, `results` keeps it, and `hardware` makes a table of what many machines kept.
`advise` recommends an engine by `trials` of all of them, with the `footprint` of each.
"""
