"""Processors, the compilers that build for them and the emulators that run and count."""
