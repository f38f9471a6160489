"""The plan as C: the model, its header, and the projects it is exported in.

`model.generate` puts the files together, `stage_code` has a function for each kind of stage, `steps` packs the order of
steps, and `emit` knows how C is written.
"""

from .model import GeneratedModel, generate

__all__ = ["GeneratedModel", "generate"]
