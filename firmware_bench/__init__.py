"""From the int8 graph to C on a microcontroller, and what it costs there.

`plan` decides in which order rows of which tensors are made and where each lives; `families` and `kernels` say how
constants are packed for the C library in `c`; `generator` writes the model as C and as projects; `frontend` gives the
C front end its tables. `targets` compiles and emulates, `native` runs the same C on this machine as an engine, `boards`
talks to a board over its serial port, and `benchmark` puts all of it in one table. No torch anywhere.
"""
