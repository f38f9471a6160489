"""Engines that run a .tflite or .onnx file on given inputs, each in a process of its own.

`engine` says what an engine is and `catalogue` which ones there are, those of other packages included. `places` finds
the environments that some live in, `tap` makes inner tensors of a model readable, and `process` runs a model in
`child.py` or `web.mjs`: scripts that import nothing of tinyscene, so that any interpreter can run them, and whose
crash, hang or refusal becomes an error line.
"""
