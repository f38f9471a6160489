"""From recordings to a trained student, with torch.

`data` reads, checks, generates and caches recordings, `batches` hands them out; `features` and `augment` turn batches
of waveforms into log-mels on the training device; `models` holds the student and its teachers. `config` is what a
training is told, `distill` its loss and its teachers' part: `logits` keeps what each of them answers, `context` is what
they hear around a snippet, `ensemble` weighs and `disagreement` compares them. `schedule` is the training's pace;
`module` does one step, `parallel` shares it among processes, `trainer` has the loop with its `checkpoints` and
`epoch_log`, `early_check` its early end, `session` the whole of one command; `run` is the directory that it leaves
behind. `predict`, `metrics` and `evaluate` score runs and bundles, `label_map` says which scenes are meant, `unseen`
lets them hear through other microphones; `import_cpjku` brings in the published student. `bench` measures the step,
`bench_training` against clips one by one (`bench_plain`), `bench_scale` a corpus of TAU22's size. Read in that order.
"""
