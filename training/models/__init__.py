"""Networks from log-mel (batch, 1, n_mels, n_frames) to logits (batch, n_classes): the student and its teachers."""
