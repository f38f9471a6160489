"""From a float graph to int8 scales: calibration, and fine-tuning with rounding in the forward pass.

`quantize` makes every scale. `ptq` measures ranges, evens out channels (`rescale`) and rounds weights (`rounding`);
`widen` gives layers 16 bits, `wide_choice` says which. `qat` fine-tunes what that gives, with `fake_quant` or another
of `qat_engines` in the forward pass. `freeze` makes a constant of global response normalisation, `layer_fit` its first
step; `unlabelled` is what both need to learn from recordings without labels.
"""
