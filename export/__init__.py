"""From a trained student to int8 artefacts that agree bit for bit.

`graph` is the one description everything here reads or writes. `lower` makes it from a student with every fold done;
`quantize` gives it int8 scales (`ptq` measures ranges, `qat` fine-tunes with them); `tflite_writer`, `tflite_reader`
and `onnx_writer` carry it to files; `golden` and `verify` prove that the engines agree; `artefact` makes the bundle.
"""
