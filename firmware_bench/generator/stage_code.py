"""One stage as C: its constants, and the function that makes one row.

Every function gets the step `y`, which is the row that it makes (a stage that gathers: the row that it takes in).
Rings and offsets are numbers in it: row r of a plane lies at offset + (r + rows above) % slots * bytes of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from ...export.graph import Graph, Op
from .. import arithmetic, tables
from ..families import Constants, Family, plain_requant
from ..plan.planes import Plane, Read, Stage, view
from ..plan.planner import Plan
from .emit import bytes_array, comment, identifier, shape, struct, words_array


@dataclass(frozen=True)
class StageCode:
    """A stage's text: its constants, its function, and the function's name."""

    constants: str
    function: str
    name: str


@dataclass(frozen=True, eq=False)
class _Context:
    """A stage within its plan."""

    graph: Graph
    plan: Plan
    family: Family
    index: int

    @property
    def stage(self) -> Stage:
        return self.plan.stages[self.index]

    @property
    def plane(self) -> Plane:
        return self.stage.plane

    @property
    def op(self) -> Op:
        assert self.stage.op is not None
        return self.stage.op

    def source(self, number: int = 0) -> Plane:
        """The plane of operand `number`."""
        return self.plan.stages[self.read(number).plane].plane

    def read(self, number: int = 0) -> Read:
        read = self.stage.reads[number]
        assert read is not None
        return read

    def at(self, index: int, row: str, columns: int = 0) -> str:
        """The address of a row of plane `index`, `columns` padding columns before its data; `row` counts from the
        plane's topmost row of all, zero points included."""
        plane, slots = self.plan.stages[index].plane, self.plan.lives[index].slots
        offset = self.plan.place[index, "ring"] + (plane.left - columns) * plane.channels
        if slots == 1:
            return f"run->arena + {offset}"
        if slots >= plane.all_rows:
            return f"run->arena + {offset} + {_factor(row)} * {plane.row_bytes}"
        return f"run->arena + {offset} + {_factor(row)} % {slots} * {plane.row_bytes}"

    def input_row(self, number: int = 0, offset: int = 0) -> str:
        """The address of row `offset` of those that operand `number` reads at step y."""
        read = self.read(number)
        return self.at(read.plane, _sum(read.stride, read.first + offset + self.source(number).top), read.left)

    def window(self) -> str:
        """Declaration of `rows`, pointers to the rows of the window."""
        read = self.read()
        if not read.clip:
            rows = ",\n".join(f"        {self.input_row(0, offset)}" for offset in range(read.height))
            return f"    const int8_t *const rows[{read.height}] = {{\n{rows},\n    }};\n"
        top = self.source().top
        return (
            f"    const int8_t *rows[{read.height}]; /* those that exist */\n"
            f"    int32_t height = 0;\n"
            f"    const int32_t first = {_sum(read.stride, read.first)};\n"
            f"    for (int32_t row = first; row < first + {read.height}; ++row) {{\n"
            f"        if (row >= 0 && row < {self.source().rows}) {{\n"
            f"            rows[height++] = {self.at(read.plane, f'row + {top}' if top else 'row', read.left)};\n"
            f"        }}\n"
            f"    }}\n"
        )

    def sums(self) -> str:
        """Declaration of `sums` in the arena."""
        kind = "sums" if self.stage.sums else "scratch"
        return f"    int32_t *const sums = (int32_t *)(void *)(run->arena + {self.plan.place[self.index, kind]});\n"

    def name(self, kind: str) -> str:
        return f"ts_{kind}_{self.index}"


def _sum(stride: int, offset: int) -> str:
    """`y * stride + offset`, shortest."""
    product = {0: "", 1: "y"}.get(stride, f"y * {stride}")
    if not product:
        return str(offset)
    return product if offset == 0 else f"{product} {'+' if offset > 0 else '-'} {abs(offset)}"


def _factor(expression: str) -> str:
    return f"({expression})" if " " in expression else expression


def stage_code(graph: Graph, plan: Plan, family: Family, index: int) -> StageCode:
    """The C of stage `index` of `plan`."""
    context = _Context(graph, plan, family, index)
    constants, body = _KINDS[context.stage.kind](context)
    name = f"ts_{index:02d}_{identifier(context.plane.name)}"
    lines = f"{_before(context)}{body}{_after(context)}"
    unused = "" if "y" in _words(lines) else "    (void)y;\n"
    function = f"{_header(context)}static void {name}(const ts_run *run, int32_t y) {{\n{unused}{lines}}}\n"
    return StageCode(constants, function, name)


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())


def _header(context: _Context) -> str:
    stage, plane, plan = context.stage, context.plane, context.plan
    sources = [
        f"{comment(plan.stages[read.plane].plane.name)} {shape(_sizes(plan.stages[read.plane].plane))}"
        for read in stage.reads
        if read is not None
    ]
    slots = plan.lives[context.index].slots
    rows = "1 row" if slots == 1 else f"{slots} rows"
    kind = stage.kind if stage.op is None or stage.kind == stage.op.kind else f"{stage.op.kind} as {stage.kind}"
    around = ""
    if plane.all_rows > plane.rows or plane.left or plane.right:
        around = f"\n * Zero points around it: {plane.top} above, {plane.bottom} below, {plane.left} left, {plane.right} right."
    made = f" of {', '.join(sources)}" if sources else ""
    return (
        f"/* {comment(plane.name)} {shape(_sizes(plane))}: {kind}{made}.\n"
        f" * {rows} of {plane.row_bytes} bytes at {plan.place[context.index, 'ring']}.{around} */\n"
    )


def _sizes(plane: Plane) -> tuple[int, int, int]:
    return plane.rows, plane.columns, plane.channels


def _before(context: _Context) -> str:
    """Zero points around the plane, and the declaration of `out`, where the row's data goes."""
    stage, plane, plan = context.stage, context.plane, context.plan
    base, slots = plan.place[context.index, "ring"], plan.lives[context.index].slots
    ring, columns = slots < plane.all_rows, bool(plane.left or plane.right)
    # A stage that gathers writes one row; those below follow it.
    row = _sum(1, plane.top) if not stage.gathers else str(plane.top)
    begin = []
    if ring and columns:
        begin.append(f"memset(run->arena + {base}, {plane.zero_point}, {slots * plane.row_bytes});")
    elif plane.top:
        begin.append(f"memset(run->arena + {base}, {plane.zero_point}, {plane.top * plane.row_bytes});")
    if columns and not ring and stage.gathers:
        begin.append(f"memset({context.at(context.index, row, plane.left)}, {plane.zero_point}, {plane.row_bytes});")
    text = _if("y == 0", begin)
    if plane.bottom:
        below = _sum(1, plane.top - (stage.work - 1 if stage.gathers else 0))
        size = plane.data_bytes if ring else plane.row_bytes
        where = context.at(context.index, below, 0 if ring else plane.left)
        text += _if(f"y >= {stage.work}", [f"memset({where}, {plane.zero_point}, {size});", "return;"])
    if columns and not ring and not stage.gathers:
        text += f"    memset({context.at(context.index, row, plane.left)}, {plane.zero_point}, {plane.row_bytes});\n"
    return text + f"    int8_t *const out = {context.at(context.index, row)};\n"


def _if(condition: str, lines: list[str]) -> str:
    inside = "".join(f"        {line}\n" for line in lines)
    return f"    if ({condition}) {{\n{inside}    }}\n" if lines else ""


def _after(context: _Context) -> str:
    """What happens to a whole row: the network's output is handed out, the debug build shows it."""
    stage, plane = context.stage, context.plane
    size = plane.data_bytes
    row = "0" if stage.gathers else "y"
    lines = []
    if context.index == len(context.plan.stages) - 1:
        where = "run->logits" if plane.rows == 1 else f"run->logits + y * {size}"
        lines.append(f"memcpy({where}, out, {size});")
    lines.append(f"TS_TAP({context.index}, {row}, out, {size});")
    if stage.gathers and stage.work > 1:
        return _if(f"y == {stage.work - 1}", lines)
    return "".join(f"    {line}\n" for line in lines)


_Body = tuple[str, str]  # constants, statements


def _input(context: _Context) -> _Body:
    return "", f"    ts_input_row(run->input, y, {context.plane.channels}, out);\n"


def _conv(context: _Context, numbers: Constants, weights: np.ndarray, requant: np.ndarray) -> str:
    """The constants of one convolution and its struct."""
    op, index = context.op, context.index
    limits = arithmetic.clamp(context.graph, op)
    assert op.weight is not None
    inputs = numbers.weight.shape[-1] if op.kind != "DEPTHWISE_CONV_2D" else context.source().channels
    fields: dict[str, int | str] = {
        "weights": f"ts_weights_{index}.values",
        "requant": f"ts_requant_{index}",
        "inputs": inputs,
        "outputs": len(numbers.bias),
        **asdict(limits),
    }
    what = f"{comment(op.name)}: weights {shape(numbers.weight.shape)} as family {context.family.key} packs them"
    return (
        bytes_array(f"ts_weights_{index}", weights, what)
        + words_array(f"ts_requant_{index}", requant, f"bias, multiplier, shift of {len(numbers.bias)} outputs")
        + struct("ts_conv", f"ts_conv_{index}", fields)
        + "\n"
    )


def _pointwise(context: _Context) -> _Body:
    numbers = arithmetic.as_pointwise(arithmetic.constants(context.graph, context.op))
    packed = context.family.pack_pointwise(numbers)
    pixels = context.plane.columns
    call = f"    ts_pointwise_{context.family.key}({context.input_row()}, out, {pixels}, &ts_conv_{context.index});\n"
    return _conv(context, numbers, packed.weights, packed.requant), call


def _depthwise3(context: _Context) -> _Body:
    numbers = arithmetic.constants(context.graph, context.op)
    packed = context.family.pack_depthwise3(numbers)
    call = (
        f"    ts_depthwise3_{context.family.key}(rows, out, {context.plane.columns}, {context.op.stride[1]}, "
        f"&ts_conv_{context.index});\n"
    )
    return _conv(context, numbers, packed.weights, packed.requant), context.window() + call


def _conv_row(context: _Context) -> _Body:
    numbers = arithmetic.constants(context.graph, context.op)
    packed = context.family.pack_conv(numbers)
    height, kernel = numbers.weight.shape[1:3]
    scratch = f"run->arena + {context.plan.place[context.index, 'scratch']}" if context.stage.scratch else "NULL"
    call = (
        f"    ts_conv_row_{context.family.key}(rows, {height}, {kernel}, out, {context.plane.columns}, "
        f"{context.op.stride[1]}, &ts_conv_{context.index},\n        {scratch});\n"
    )
    return _conv(context, numbers, packed.weights, packed.requant), context.window() + call


def _depthwise(context: _Context) -> _Body:
    numbers = arithmetic.constants(context.graph, context.op)
    height, kernel = numbers.weight.shape[:2]
    call = (
        f"    ts_depthwise_row(rows, {height}, {kernel}, out, {context.plane.columns}, {context.op.stride[1]}, "
        f"&ts_conv_{context.index});\n"
    )
    return _conv(context, numbers, numbers.weight, plain_requant(numbers)), context.window() + call


def _add(context: _Context) -> _Body:
    name = context.name("add")
    a, b = context.input_row(0), context.input_row(1)
    call = f"    ts_add_{context.family.key}({a},\n        {b}, out, {context.plane.data_bytes}, &{name});\n"
    return struct("ts_add", name, asdict(arithmetic.addition(context.graph, context.op))) + "\n", call


def _binary(context: _Context) -> _Body:
    kind = "add" if context.op.kind == "ADD" else "mul"
    parameters = arithmetic.addition if kind == "add" else arithmetic.product
    name = context.name(kind)
    constants = struct(f"ts_{kind}", name, asdict(parameters(context.graph, context.op)))
    plane, operands = context.plane, ""
    for number, letter in enumerate("ab"):
        tensor = context.graph.tensor[context.op.inputs[number]]
        rows, columns, channels = view(context.graph, tensor.name)
        if tensor.data is not None:
            array = f"ts_constant_{context.index}{letter}"
            what = f"{comment(tensor.name)} {shape((rows, columns, channels))}"
            constants += bytes_array(array, tensor.data, what)
            address = f"{array}.values" + (f" + y * {columns * channels}" if rows > 1 else "")
        else:
            address = context.input_row(number)
        steps = (channels if columns == plane.columns else 0, 1 if channels == plane.channels else 0)
        operands += f"    const ts_operand {letter} = {{{address}, {steps[0]}, {steps[1]}}};\n"
    call = f"    ts_{kind}_row(&a, &b, out, {plane.columns}, {plane.channels}, &{name});\n"
    return constants + "\n", operands + call


def _pool_struct(context: _Context) -> str:
    values = asdict(arithmetic.pool(context.graph, context.op))
    kept = {key: values[key] for key in ("channels", "columns", "kernel", "stride", "before", "low", "high")}
    return struct("ts_pool", context.name("pool"), kept) + "\n"


def _pool(context: _Context) -> _Body:
    kind = "average" if context.op.kind == "AVERAGE_POOL_2D" else "max"
    height = "height" if context.read().clip else str(context.read().height)
    call = f"    ts_{kind}_pool_row(rows, {height}, out, {context.plane.columns}, &{context.name('pool')});\n"
    return _pool_struct(context), context.window() + call


def _pool_rows(context: _Context) -> _Body:
    width, name = context.plane.columns, context.name("pool")
    finish = f"ts_average_pool_finish(sums, {context.stage.work}, out, {width}, &{name});"
    text = context.sums() + _if("y == 0", [f"memset(sums, 0, {width * context.plane.channels * 4});"])
    text += f"    ts_average_pool_add({context.input_row()}, sums, {width}, &{name});\n"
    return _pool_struct(context), text + _if(f"y == {context.stage.work - 1}", [finish])


def _mean(context: _Context) -> _Body:
    source, axes, name = context.source(), set(context.op.axes), context.name("mean")
    columns = 1 if 2 in axes else source.columns
    channels = 1 if 3 in axes else source.channels
    steps = f"{0 if 2 in axes else channels}, {0 if 3 in axes else 1}"
    clear = f"memset(sums, 0, {columns * channels * 4});"
    add = f"    ts_mean_add({context.input_row()}, sums, {source.columns}, {source.channels}, {steps});\n"
    finish = f"ts_mean_finish(sums, out, {columns * channels}, &{name});"
    constants = struct("ts_mean", name, asdict(arithmetic.mean(context.graph, context.op))) + "\n"
    if not context.stage.gathers:
        return constants, f"{context.sums()}    {clear}\n{add}    {finish}\n"
    end = _if(f"y == {context.stage.work - 1}", [finish])
    return constants, context.sums() + _if("y == 0", [clear]) + add + end


def _lut(context: _Context) -> _Body:
    name = context.name("table")
    values = tables.lut(context.graph, context.op)
    constants = bytes_array(name, values, f"{comment(context.op.name)}: result of each value from -128 on") + "\n"
    call = f"    ts_lut_row({context.input_row()}, out, {context.plane.data_bytes}, {name}.values);\n"
    return constants, call


def _softmax(context: _Context) -> _Body:
    name, channels, plane = context.name("exps"), context.plane.channels, context.plane
    values = tables.exponentials(context.graph, context.op)
    constants = words_array(name, values, "exp(-d * scale) in Q0.31, d steps below the largest") + "\n"
    if plane.columns == 1:
        return constants, f"    ts_softmax({context.input_row()}, out, {channels}, {name});\n"
    return constants, (
        f"    for (int32_t x = 0; x < {plane.columns}; ++x) {{\n"
        f"        ts_softmax({context.input_row()} + x * {channels}, out + x * {channels}, {channels}, {name});\n"
        f"    }}\n"
    )


def _pad(context: _Context) -> _Body:
    source, op, plane = context.source(), context.op, context.plane
    (before, _), (left, right) = op.pads
    row = context.at(context.read().plane, _sum(1, source.top - before))
    arguments = f"{row}, out, {source.columns}, {source.channels}, {left}, {right}, {plane.zero_point}"
    inside = f"y >= {before} && y < {before + source.rows}"
    return "", (
        f"    if ({inside}) {{\n        ts_pad_row({arguments});\n"
        f"    }} else {{\n        memset(out, {plane.zero_point}, {plane.data_bytes});\n    }}\n"
    )


def _copy(context: _Context) -> _Body:
    return "", f"    memcpy(out, {context.input_row()}, {context.plane.data_bytes});\n"


def _flatten(context: _Context) -> _Body:
    size = context.source().data_bytes
    return "", f"    memcpy(out + y * {size}, {context.input_row()}, {size});\n"


def _slice(context: _Context) -> _Body:
    size = context.plane.data_bytes
    return "", f"    memcpy(out, {context.input_row()} + y * {size}, {size});\n"


_KINDS: dict[str, Callable[[_Context], _Body]] = {
    "INPUT": _input,
    "POINTWISE": _pointwise,
    "DEPTHWISE3": _depthwise3,
    "CONV_ROW": _conv_row,
    "DEPTHWISE": _depthwise,
    "ADD": _add,
    "ADD_ROW": _binary,
    "MUL_ROW": _binary,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "POOL_ROWS": _pool_rows,
    "MEAN": _mean,
    "MEAN_ROW": _mean,
    "LUT": _lut,
    "SOFTMAX": _softmax,
    "PAD": _pad,
    "COPY": _copy,
    "FLATTEN": _flatten,
    "SLICE": _slice,
}
