"""Pieces of C as text: names, comments, strings, numbers, arrays and structs, safe whatever a model is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Columns of the generated files.
WIDTH = 120


def comment(text: str) -> str:
    """`text` for the inside of a comment: printable ASCII that neither ends it nor means anything to a compiler."""
    return re.sub(r"[^A-Za-z0-9 _.,;:()+=<>#@\[\]/-]", "_", text).replace("//", "/_")


def identifier(text: str) -> str:
    """`text` as the tail of a C name, at most 40 characters."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:40]


def string(text: str) -> str:
    """A C string literal of the text's UTF-8, everything unusual in octal, question marks out of trigraphs' reach."""
    pieces = []
    for byte in text.encode("utf-8", "surrogatepass"):
        character = chr(byte)
        if character in '"\\?':
            pieces.append("\\" + character)
        elif 32 <= byte < 127:
            pieces.append(character)
        else:
            pieces.append(f"\\{byte:03o}")
    return '"' + "".join(pieces) + '"'


def float32(value: float) -> str:
    """A float literal that gives exactly that float32."""
    digits = f"{np.float32(value):.9g}"
    return (digits if re.search(r"[.e]", digits) else f"{digits}.0") + "f"


def integer(value: int) -> str:
    """An int32 literal; the smallest one has no literal of its own."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def wrapped(pieces: Iterable[str], indent: str = "    ") -> str:
    """`pieces` with commas between them, in lines of at most `WIDTH` columns."""
    lines, line = [], indent
    for piece in pieces:
        if len(line) + len(piece) + 1 > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += piece + ", "
    lines.append(line.rstrip().removesuffix(","))
    return "\n".join(lines)


def numbers(values: NDArray[Any]) -> str:
    """The numbers of an array, row by row."""
    return wrapped(integer(int(value)) for value in values.reshape(-1))


def bytes_array(name: str, values: NDArray[np.int8], what: str) -> str:
    """Constant int8 numbers at a word's alignment, which C99 gives to a union with a word; used as `name.values`."""
    return (
        f"/* {what} */\n"
        f"static const union {{ int8_t values[{max(values.size, 1)}]; int32_t aligned; }} {name} = {{{{\n"
        f"{numbers(values) if values.size else '    0'}\n}}}};\n"
    )


def words_array(name: str, values: NDArray[np.int32], what: str) -> str:
    """Constant int32 numbers."""
    size = max(values.size, 1)
    return (
        f"/* {what} */\nstatic const int32_t {name}[{size}] = {{\n{numbers(values) if values.size else '    0'}\n}};\n"
    )


def doubles_array(name: str, values: NDArray[np.float64], what: str) -> str:
    """Constant doubles, each in the fewest digits that give exactly that one."""
    digits = wrapped(repr(float(value)) for value in values)
    return f"/* {what} */\nstatic const double {name}[{values.size}] = {{\n{digits}\n}};\n"


def struct(kind: str, name: str, fields: Mapping[str, int | str]) -> str:
    """A constant struct with its fields by name."""
    pieces = [f".{key} = {value if isinstance(value, str) else integer(value)}" for key, value in fields.items()]
    line = f"static const {kind} {name} = {{{', '.join(pieces)}}};\n"
    return line if len(line) <= WIDTH + 1 else f"static const {kind} {name} = {{\n{wrapped(pieces)}\n}};\n"


def shape(sizes: Iterable[int]) -> str:
    """(a, b, c) as in the comments of the C library."""
    return f"({', '.join(map(str, sizes))})"
