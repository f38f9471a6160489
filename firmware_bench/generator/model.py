"""The network as two C files: `model.h`, what a program may use, and `model.c`, every constant and every row's making.

Read `model.c` from its end: `ts_model_run` goes through the table of steps; each step makes one row with one function.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...export.graph import Graph
from ...runtime.bundle import Bundle
from ...runtime.errors import InputError
from ..families import LIBRARY, family
from ..plan.planner import Plan, plan_network
from .emit import comment, float32, shape, string, wrapped
from .stage_code import StageCode, stage_code
from .steps import StepTable, step_table

#: Sources beside those of the family: ops that have one implementation.
OPS = ("ts_ops.c", "ts_ops_elementwise.c")


@dataclass(frozen=True, eq=False)
class GeneratedModel:
    """`files` are model.h, model.c and what they need of the C library, by name; `tensors` names what the debug build
    shows, by number: the plan's planes, some of them on the way to a tensor and not one of the graph's."""

    files: dict[str, str | bytes]
    plan: Plan
    tensors: tuple[str, ...]


def generate(
    graph: Graph,
    family_key: str,
    *,
    bundle: Bundle | None = None,
    labels: Sequence[str] | None = None,
    contract_hash: str = "",
    plan: Plan | None = None,
    ram_limit_bytes: int | None = None,
) -> GeneratedModel:
    """The C of an int8 `graph` for one family of kernels; the same input gives the same bytes.

    Labels and the front end's hash are `bundle`'s, or those given. Raises `InputError` for a graph that the generator
    cannot take, labels that are not as many as the classes, and a plan that was made for something else.
    """
    kernels = family(family_key)
    if bundle is not None:
        labels, contract_hash = bundle.labels, bundle.frontend.hash()
    plan = plan or plan_network(graph, kernels, ram_limit_bytes)
    if plan.name != graph.name or plan.family_key != family_key:
        raise InputError(f"the plan is for {plan.name} with {plan.family_key} kernels, not {graph.name}, {family_key}")
    classes = int(np.prod(graph.tensor[graph.output].shape))
    names = tuple(labels) if labels is not None else tuple(f"class {number}" for number in range(classes))
    if len(names) != classes:
        raise InputError(f"{len(names)} labels for {classes} classes of {graph.name}: use the bundle's own")
    codes = {index: stage_code(graph, plan, kernels, index) for index in sorted(set(plan.steps))}
    files: dict[str, str | bytes] = {
        "model.h": _header(graph, plan, names, contract_hash),
        "model.c": _source(plan, codes, names),
    }
    files.update(library_files((*kernels.sources, *OPS), *files.values()))
    return GeneratedModel(files, plan, tuple(stage.plane.name for stage in plan.stages))


def library_files(sources: Sequence[str], *texts: str | bytes) -> dict[str, str | bytes]:
    """`sources` of the C library and every header of it that they or `texts` include, by name."""
    found: dict[str, str | bytes] = {}
    waiting = list(sources)
    for text in texts:
        waiting += _included(text)
    while waiting:
        name = waiting.pop()
        path = LIBRARY / name
        if name in found or not path.is_file():
            continue
        found[name] = path.read_text()
        waiting += _included(found[name])
    return dict(sorted(found.items()))


def _included(text: str | bytes) -> list[str]:
    assert isinstance(text, str)
    return re.findall(r'^\s*#\s*include "([^"]+)"', text, re.MULTILINE)


def _header(graph: Graph, plan: Plan, labels: Sequence[str], contract_hash: str) -> str:
    plane, peak = plan.stages[0].plane, plan.peak
    source, target = graph.input_quant, graph.output_quant
    sizes = shape((plane.rows, plane.columns, plane.channels))
    return f"""\
/* {comment(graph.name)}: an int8 network as C, made by tinyscene. Input {sizes}, {len(labels)} classes.
 *
 * The arena at its fullest, in bytes: {peak.rings} rows in rings, {peak.planes} whole tensors, {peak.scratch} scratch
 * memory, {peak.gaps} unused. It holds nothing between two runs. */
#ifndef TS_MODEL_H
#define TS_MODEL_H

#include <stdint.h>

#include "ts_input.h"

#ifdef __cplusplus
extern "C" {{
#endif

#define TS_MODEL_NAME {string(graph.name)}
#define TS_MODEL_FAMILY {string(plan.family_key)} /* of kernels */

#define TS_MODEL_ARENA_BYTES {plan.arena_bytes} /* what ts_model_run works in */

#define TS_MODEL_ROWS {plane.rows} /* mel bands */
#define TS_MODEL_COLUMNS {plane.columns} /* frames */
#define TS_MODEL_CHANNELS {plane.channels}
#define TS_MODEL_CLASSES {len(labels)}

/* real = SCALE * (int8 - ZERO_POINT) */
#define TS_MODEL_INPUT_SCALE {float32(source.scale)}
#define TS_MODEL_INPUT_ZERO_POINT ({source.zero_point})
#define TS_MODEL_OUTPUT_SCALE {float32(target.scale)}
#define TS_MODEL_OUTPUT_ZERO_POINT ({target.zero_point})

#define TS_MODEL_CONTRACT_HASH {string(contract_hash)} /* of the front end that the network was trained with */

extern const char *const ts_model_labels[TS_MODEL_CLASSES]; /* UTF-8 */

/* From an input to logits (TS_MODEL_CLASSES). `arena` is TS_MODEL_ARENA_BYTES, aligned to 16 bytes. Re-entrant: with
 * arenas of their own, several runs may go on at once. */
void ts_model_run(int8_t *arena, const ts_input *input, int8_t *logits);

#ifdef TS_MODEL_TAP
/* Defined by whoever builds with TS_MODEL_TAP: called with each row that was made, (columns, channels) without padding.
 * `tensor` is the number in the table at the top of model.c. */
void ts_model_tap(int32_t tensor, int32_t row, const int8_t *data, int32_t bytes);
#endif

#ifdef __cplusplus
}}
#endif

#endif
"""


def _source(plan: Plan, codes: Mapping[int, StageCode], labels: Sequence[str]) -> str:
    table = step_table(plan.steps)
    names = "\n".join(f"    {string(label)}," for label in labels)
    parts = [
        _overview(plan),
        '#include "model.h"\n\n#include <string.h>\n\n#include "ts_kernels.h"\n#include "ts_ops.h"\n',
        "#ifdef TS_MODEL_TAP\n"
        "#define TS_TAP(tensor, row, data, bytes) ts_model_tap(tensor, row, data, bytes)\n"
        "#else\n"
        "#define TS_TAP(tensor, row, data, bytes) ((void)(row))\n"
        "#endif\n",
        f"const char *const ts_model_labels[TS_MODEL_CLASSES] = {{\n{names}\n}};\n",
        "/* One run: what the caller gave. */\n"
        "typedef struct {\n    int8_t *arena;\n    const ts_input *input;\n    int8_t *logits;\n} ts_run;\n",
        *(code.constants + code.function for code in codes.values()),
        _tables(table, len(plan.stages)),
        _run(plan, codes, table),
    ]
    return "\n".join(parts)


def _overview(plan: Plan) -> str:
    """The comment at the top: every plane and its place, and what each segment needs."""
    lines = [
        "Everything is made row by row. A plane is one tensor, (rows, columns, channels); of it there are only as many",
        "rows in memory as are needed at once: row r lies in slot (r + rows of zero points above) % slots, at",
        "offset + slot * bytes. Tensors whose lives do not meet share memory.",
        "",
        f"{'':>3}  {'offset':>7} {'slots':>5} {'bytes':>6}  plane",
    ]
    for index, (stage, life) in enumerate(zip(plan.stages, plan.lives, strict=True)):
        plane = stage.plane
        if (index, "ring") not in plan.place:
            lines.append(f"{index:3}  {'':20}  {comment(plane.name)}: nothing needs it")
            continue
        what = f"{comment(plane.name)} {shape((plane.rows, plane.columns, plane.channels))}"
        lines.append(f"{index:3}  {plan.place[index, 'ring']:7} {life.slots:5} {plane.row_bytes:6}  {what}")
        for kind in ("sums", "scratch"):
            if (index, kind) in plan.place:
                lines.append(f"     {plan.place[index, kind]:7} {'':5} {getattr(stage, kind):6}  its {kind}")
    lines += ["", f"{'steps':>12} {'bytes at most':>14}  until this tensor is whole"]
    lines += [f"{segment.steps:12} {segment.bytes:14}  {comment(segment.makes)}" for segment in plan.segments]
    lines += ["", f"Arena: {plan.arena_bytes} bytes, of which {plan.least_bytes} are needed at once."]
    return "/* " + "\n".join(f" * {line}".rstrip() for line in lines).removeprefix(" * ") + " */\n"


def _kind(values: Sequence[int]) -> str:
    return "uint8_t" if max(values) < 256 else "uint16_t" if max(values) < 65536 else "uint32_t"


def _tables(table: StepTable, count: int) -> str:
    kind = _kind([count - 1])
    longest = max(max(loop) for loop in table.loops)
    steps = wrapped(str(step) for step in table.steps)
    loops = wrapped(f"{{{first}, {length}, {times}}}" for first, length, times in table.loops)
    return f"""\
/* Whose turn it is: ts_steps[first .. first + length) is gone through `times` times, for each of ts_loops. */
static const {kind} ts_steps[{len(table.steps)}] = {{
{steps}
}};
static const struct {{
    {_kind([longest])} first, length, times;
}} ts_loops[{len(table.loops)}] = {{
{loops}
}};
"""


def _run(plan: Plan, codes: Mapping[int, StageCode], table: StepTable) -> str:
    rows = _kind([max(stage.steps for stage in plan.stages)])
    cases = "\n".join(
        f"                case {index}:\n                    {code.name}(&run, y);\n                    break;"
        for index, code in codes.items()
    )
    return f"""\
void ts_model_run(int8_t *arena, const ts_input *input, int8_t *logits) {{
    const ts_run run = {{arena, input, logits}};
    {rows} done[{len(plan.stages)}]; /* steps of each stage */
    memset(done, 0, sizeof done);
    for (int32_t loop = 0; loop < {len(table.loops)}; ++loop) {{
        for (int32_t time = 0; time < (int32_t)ts_loops[loop].times; ++time) {{
            for (int32_t step = 0; step < (int32_t)ts_loops[loop].length; ++step) {{
                const int32_t stage = (int32_t)ts_steps[(int32_t)ts_loops[loop].first + step];
                const int32_t y = (int32_t)done[stage]++;
                switch (stage) {{
{cases}
                default:
                    break;
                }}
            }}
        }}
    }}
}}
"""
