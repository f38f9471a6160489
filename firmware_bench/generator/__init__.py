"""The plan as C: the model, its header, and the projects it is exported in."""
