"""Networks from log-mel (batch, 1, n_mels, n_frames) to logits (batch, n_classes): the student and its teachers.

`cp_mobile` is the student, with the forms of its normalisation in `norm`; `cp_resnet` is a teacher; `counts` says what
each layer costs; `build` finds a network and its front end by name.
"""
