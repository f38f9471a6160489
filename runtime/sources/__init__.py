"""Where audio comes from: what a source is (`source`), files and folders (`files`), a pipe (`pcm`), and a microphone.

A microphone (`microphone`) is chosen among the machine's (`devices`); its losses are found by counting frames against
the clock (`clock`).
"""
