"""The generated C on this machine: compiled once for each network, called through ctypes.

`library` compiles and keeps what it compiled, `model` runs it and shows its inner tensors, `engine` is what `listen`
and `bench` use, `catalogue` and `child` what `verify` uses: there the model runs in a process of its own. `bench`
compares its latency with LiteRT's.
"""
