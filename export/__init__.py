"""From a trained student to int8 artefacts that agree bit for bit.

`graph` is the one description everything here reads or writes. `lower` makes it from a student with every fold done
(`freeze` first, where global response normalisation is to fold too: `layer_fit`, then learning from its source on any
recordings, `unlabelled`). `ptq` measures ranges, evens out channels (`rescale`), gives int8 scales (`quantize`; `widen`
leaves chosen layers 16 bits, `wide_choice` finds which) and rounds weights (`rounding`); `qat` fine-tunes what that
gives, with the rounding of one of the `qat_engines` in the forward pass (`fake_quant`, or `nncf_engine`).
`tflite_writer`, `tflite_reader` and `onnx_writer` carry the graph to files, after `tflite_structure` has seen that a
file is whole; `model_file` opens whatever has an int8 network in it. `golden` and `verify` prove that the `engines`
agree (`verify_file` on a file from anywhere, `crosscheck` against another converter), `artefact` makes the bundle, with
its `card`. `forms` and `waterfall` say what each step costs, `explain` where in the network it is lost, `lint` what
each target runs of it, `report` all of that on a page. Read in that order.
"""
