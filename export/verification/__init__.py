"""One answer on every engine: golden vectors, the checks that replay them, and where an engine first leaves them.

`golden` records (`traces`, `fingerprint`) and reads, `verify` checks a bundle with them, `verify_file` a bare .tflite
with `stimuli`; `divergence` names the first tensor that differs. `crosscheck` compares with a converter of others.
"""
