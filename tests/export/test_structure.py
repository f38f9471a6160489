"""The walk over a .tflite: files built to mislead, byte by byte."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from test_graph import tiny_int8
from test_tflite import pack, unpack

from tinyscene.export.formats.tflite_layout import TABLES, UNIONS, WIDTHS
from tinyscene.export.formats.tflite_structure import parse_model
from tinyscene.export.formats.tflite_writer import IDENTIFIER, write_tflite
from tinyscene.runtime.errors import InputError

FOREIGN = Path(__file__).with_name("foreign")


def refused(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        parse_model(data, "it.tflite")
    assert "it.tflite" in str(caught.value)


@pytest.mark.parametrize("file", [None, *sorted(FOREIGN.glob("*.tflite"))], ids=lambda file: file and file.stem)
def test_whole_files_pass_and_every_cut_is_refused(file: Path | None) -> None:
    data = write_tflite(tiny_int8()) if file is None else file.read_bytes()
    assert parse_model(data).subgraphs
    # The end of a file that TensorFlow wrote may be padding.
    for size in [*range(0, len(data) - 64, 97), len(data) - 64]:
        with pytest.raises(InputError):
            parse_model(data[:size])


class Recorder:
    """A builder that notes the slot and the width that the schema compiler's `XAddFIELD` functions write to."""

    WIDTHS = {"Bool": "b", "Int8": "b", "Uint8": "b", "Int16": "h", "Uint16": "h", "Int32": "i", "Uint32": "i"} | {
        "Float32": "i", "Int64": "q", "Uint64": "q", "UOffsetTRelative": "offset"
    }  # fmt: skip

    def __init__(self) -> None:
        self.fields: dict[int, str] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        width = self.WIDTHS[name.removeprefix("Prepend").removesuffix("Slot")]
        return lambda slot, value, default: self.fields.update({slot: width})


def test_the_layout_is_the_schemas() -> None:
    tables = {
        name.removesuffix("T") for name in vars(schema) if name.endswith("T") and hasattr(schema, f"{name[:-1]}Start")
    }
    adds = {}
    for name in vars(schema):
        table = max((table for table in tables if name.startswith(f"{table}Add")), key=len, default=None)
        if table is not None:
            adds.setdefault(table, []).append(getattr(schema, name))
    assert len(adds) > 80
    for table, functions in adds.items():
        recorder = Recorder()
        for function in functions:
            function(recorder, 0)
        known = {
            slot: field if field in WIDTHS else "offset" for slot, field in enumerate(TABLES[table]) if field != "-"
        }
        assert known == recorder.fields, table
    for union in UNIONS:
        assert {name for name in vars(getattr(schema, union)) if not name.startswith("_")} - tables == {"NONE"}


def test_a_vector_of_four_billion_tables_is_refused_at_once() -> None:
    data = bytearray(write_tflite(tiny_int8()))
    model = schema.Model.GetRootAs(data, 0)
    for slot in (6, 8, 12):  # operator codes, subgraphs, buffers
        place = model._tab.Vector(model._tab.Offset(slot)) - 4
        for count in (0xFFFFFFFF, 0x7FFFFFFF, 0x40000000):
            wild = bytearray(data)
            struct.pack_into("<I", wild, place, count)
            start = time.process_time()
            refused(bytes(wild), "beyond the file")
            assert time.process_time() - start < 5


def bomb(tables: int) -> bytes:
    """A model whose operators, many as they are, are one and the same table, and its vectors too."""
    builder = flatbuffers.Builder(1024)
    inputs = builder.CreateNumpyVector(np.zeros(tables, np.int32))
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, inputs)
    schema.OperatorAddOutputs(builder, inputs)
    operator = schema.OperatorEnd(builder)
    schema.SubGraphStartOperatorsVector(builder, tables)
    for _ in range(tables):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    subgraph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 1)
    builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def test_parts_that_are_shared_to_fill_the_memory_are_refused() -> None:
    refused(bomb(20_000), "shared so often")  # 240 KB that would unpack to 3 GB
    refused(bomb(0), "no network")


def test_too_many_tables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyscene.export.formats.tflite_structure.MAX_TABLES", 1000)
    model = unpack(tiny_int8())
    model.operatorCodes *= 1000
    refused(pack(model), "more than")


def test_tables_that_point_at_themselves_end() -> None:
    data = bytearray(write_tflite(tiny_int8()))
    for place in range(8, len(data) - 4, 4):
        wild = bytearray(data)
        struct.pack_into("<i", wild, place, 0)  # an offset of nothing: the thing itself
        with contextlib.suppress(InputError):
            parse_model(bytes(wild))


CHANGES: list[tuple[Callable[[Any], object], str]] = [
    (lambda m: setattr(m.subgraphs[0].operators[0], "opcodeIndex", 99), "operator code 99"),
    (lambda m: setattr(m.subgraphs[0].operators[0], "inputs", [0, 99, 1]), "tensor 99"),
    (lambda m: setattr(m.subgraphs[0].operators[0], "inputs", [-2, 1, 1]), "tensor -2"),
    (lambda m: setattr(m.subgraphs[0].operators[0], "outputs", [-1]), "tensor -1"),
    (lambda m: setattr(m.subgraphs[0], "inputs", [1000]), "tensor 1000"),
    (lambda m: setattr(m.subgraphs[0].tensors[0], "buffer", 1000), "buffer 1000"),
    (lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [1, -4, 4, 1]), "shape"),
    (lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [1, 40000, 40000, 1]), "MiB"),
    (lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [1 << 30] * 4), "MiB"),
    (lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [1] * 9), "shape"),
    (lambda m: setattr(m.subgraphs[0].tensors[0], "type", 99), "type 99"),
    (lambda m: setattr(m.buffers[1], "data", m.buffers[1].data[:-1]), "expected"),
    (lambda m: setattr(m.buffers[1], "offset", 4096), "outside the file"),
    (lambda m: setattr(m, "subgraphs", []), "no network"),
    (lambda m: setattr(m.subgraphs[0].tensors[0].quantization, "scale", [0.1, 0.2]), "scales along axis"),
    (lambda m: setattr(m.subgraphs[0].tensors[0].quantization, "zeroPoint", [0, 0, 0]), "zero points"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[reason for _, reason in CHANGES])
def test_references_to_nowhere_are_refused(change: Callable[[Any], object], reason: str) -> None:
    model = unpack(tiny_int8())
    change(model)
    refused(pack(model), reason)
