"""Recordings on disk, without torch: read a TAU-layout folder (`corpus`), find what is wrong with it (`check`), cut and
resample it once into a memory-mapped file (`cache`), or make a procedural corpus (`synth`)."""
