"""From a trained student to int8 artefacts that agree bit for bit.

`graph` is the one description everything here reads or writes; `lower` makes it from a student with every fold done.
Then, folder by folder: `quantization` finds its scales and fine-tunes it, `formats` carries it to files and back,
`engines` run those, `verification` proves that they agree, `explain` says what each step costs and where it is lost,
`lint` what each target runs of it. `conversion` leads from a run to its two graphs, `artefact` to the bundle with its
`card`, and `report` puts all of that on a page.
"""
