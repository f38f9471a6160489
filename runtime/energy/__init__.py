"""What listening costs in joules.

Read `meter` (what a meter is and what it returns), `sampler` and one of the meters (`pi5`, `hwmon`, `rapl`,
`joulescope`, `ppk2`, `mlperf`, `csv`), `marks` and `method` (idle and active blocks in turns), `analysis` (joules out
of a trace and its blocks) and `interval` (how sure), then `result` (what is said of them) and `options`.
"""
