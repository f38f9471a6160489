"""Everything that runs on the device, with numpy and an int8 interpreter alone.

Audio comes in through a source (`sources`), becomes log-mel frames, each computed once (`frontend_spec`, `frontend`),
is classified by the bundle's network (`bundle`, `engines`) and turned into steady decisions and events (`stream`).
`live` shows them to a person; `machine`, `energy` and `bench` say what that costs. `cli` finds the program's verbs.
Read in that order.
"""
