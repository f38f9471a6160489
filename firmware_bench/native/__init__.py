"""The generated C on this machine: a shared library behind the engines' interface."""
