"""What runs a bundle's network.

What an engine is (`engine`); LiteRT and tflite-runtime (`litert`), ONNX Runtime (`onnx`), a Coral Edge TPU (`coral`,
first tried in a process of its own, `coral_trial`); and the choice by name (`catalogue`), which also knows what the
packages above the runtime bring.
"""
