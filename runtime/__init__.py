"""Everything that runs on the device, with numpy and an int8 interpreter alone.

Audio comes in through a source (`sources`), becomes log-mel frames, each computed once (`frontend_spec`, `frontend`),
is classified by the bundle's network (`bundle`, `engine`) and turned into steady decisions (`smoothing`, `stream`);
`meters` times every stage and counts what was lost, `view` shows it, `bench` measures it. `cli` finds the program's
verbs. Read in that order.
"""
