"""The order in which rows are made and the byte at which each lives, with proof that no two meet.

`planes` says what a stage and its rows are, `stages` makes them from the graph, `schedule` orders their steps and works
out how long each row is needed, `layout` finds every block a place, `proof` replays the result on a map of bytes, and
`planner` chooses among orders by memory and by the instructions that `predict` expects.
"""
