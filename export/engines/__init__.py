"""Engines that run a .tflite or .onnx file on given inputs, each in a process of its own."""
