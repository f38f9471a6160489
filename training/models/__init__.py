"""Networks from log-mel (batch, 1, n_mels, n_frames) to logits (batch, n_classes): the student and its teachers.

`cp_mobile` is the student, with the forms of its normalisation in `norm`. Teachers, from the nearest to the farthest in
kind: `cp_resnet` sets its receptive field, `mobilenet` may start from AudioSet weights, `crnn` goes through time step
by step, `vit` and `passt` are transformers with the trunk in `transformer`. `sizes` names their sizes, `build` finds a
network and its front end by name and holds it to a budget, `counts` says what each layer costs, and `pretrained` reads
what others have published. Read in that order.
"""
