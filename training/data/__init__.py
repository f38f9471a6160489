"""Recordings on disk, without torch.

`tables` reads lists, `corpus` makes clips and folds of them (`folds` deals some where there are none, `holdout` keeps
recordings aside); `snippets` cuts and resamples files, `cache` keeps the result in a memory-mapped file, which `mapped`
hands to other processes and `lock` keeps them from writing at once; `listening`, `check_lists` and `check` find what is
wrong with a corpus, `probe` how much its spectra give away. The procedural corpus goes from parts of sounds
(`synthesis`) over `sounds`, `scenes` and `recorders` to files in `synth`; `stitch` joins places into one recording.
Read in that order.
"""
