"""The C front end's tables, made from the contract; `error` measures the C against numpy.

`files` writes the tables, `library` names the C files that go with them.
"""

from .sources import files, library

__all__ = ["files", "library"]
