"""Boards on a serial port: the MLPerf Tiny protocol, from the host's side."""
