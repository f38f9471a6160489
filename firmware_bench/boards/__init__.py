"""A board on a serial port: the protocol of MLPerf Tiny spoken by this machine, and what is measured with it.

`link` opens the port and sends one command at a time, `protocol` knows what each reply has to look like, `session`
compares the part with the reference and times it, `run` does that for a bundle. `catalogue` lists the boards that have
a port in `../c/ports`, `image` builds their firmware. Every wait has a deadline, and what is damaged is an error that
says what was expected.
"""
