"""From recordings to a trained student, with torch.

`data` reads, checks, generates and caches recordings; `features` and `augment` turn batches of waveforms into log-mels
on the training device; `models` holds the student and its teachers; `distill` is the loss, `module` and `trainer` run
it, `run` is the directory a training leaves behind; `evaluate` scores runs and bundles. Read in that order.
"""
