"""The graph as files, and files as graphs: .tflite by its schema, ONNX.

`tflite_structure` walks a file before anything trusts it (`tflite_layout` is the schema's shape), `tflite_reader` makes
the graph of it with `tflite_ops`, `tflite_writer` and `onnx_writer` write one; `model_file` opens what the command line
names, `metadata` is what a file says of itself.
"""
