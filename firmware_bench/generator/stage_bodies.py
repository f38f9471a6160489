"""What one step of each kind of stage does, and the constants that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from .. import arithmetic, tables
from ..families import Constants, plain_requant
from ..plan.planes import view
from .emit import bytes_array, comment, doubles_array, shape, struct, words_array
from .stage_context import Context, affine, when

#: A stage's constants and its statements, which fill `out`.
Body = tuple[str, str]


def _input(context: Context) -> Body:
    return "", f"    ts_input_row(run->input, y, {context.plane.channels}, out);\n"


def _conv(context: Context, numbers: Constants, weights: NDArray[np.int8], requant: NDArray[np.int32]) -> str:
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


def _pointwise(context: Context) -> Body:
    numbers = arithmetic.as_pointwise(arithmetic.constants(context.graph, context.op))
    packed = context.family.pack_pointwise(numbers)
    pixels = context.plane.columns
    call = f"    ts_pointwise_{context.family.key}({context.input_row()}, out, {pixels}, &ts_conv_{context.index});\n"
    return _conv(context, numbers, packed.weights, packed.requant), call


def _depthwise3(context: Context) -> Body:
    numbers = arithmetic.constants(context.graph, context.op)
    packed = context.family.pack_depthwise3(numbers)
    call = (
        f"    ts_depthwise3_{context.family.key}(rows, out, {context.plane.columns}, {context.op.stride[1]}, "
        f"&ts_conv_{context.index});\n"
    )
    return _conv(context, numbers, packed.weights, packed.requant), context.window() + call


def _conv_row(context: Context) -> Body:
    numbers = arithmetic.constants(context.graph, context.op)
    packed = context.family.pack_conv(numbers)
    height, kernel = numbers.weight.shape[1:3]
    scratch = f"run->arena + {context.plan.place[context.index, 'scratch']}" if context.stage.scratch else "NULL"
    call = (
        f"    ts_conv_row_{context.family.key}(rows, {height}, {kernel}, out, {context.plane.columns}, "
        f"{context.op.stride[1]}, &ts_conv_{context.index},\n        {scratch});\n"
    )
    return _conv(context, numbers, packed.weights, packed.requant), context.window() + call


def _depthwise(context: Context) -> Body:
    numbers = arithmetic.constants(context.graph, context.op)
    height, kernel = numbers.weight.shape[:2]
    call = (
        f"    ts_depthwise_row(rows, {height}, {kernel}, out, {context.plane.columns}, {context.op.stride[1]}, "
        f"&ts_conv_{context.index});\n"
    )
    return _conv(context, numbers, numbers.weight, plain_requant(numbers)), context.window() + call


def _dense(context: Context) -> Body:
    numbers, index = arithmetic.dense(context.graph, context.op), context.index
    outputs, inputs = numbers.weight.shape
    fields: dict[str, int | str] = {
        "weights": f"ts_weights_{index}.values",
        "bias": f"ts_bias_{index}",
        "scales": f"ts_scales_{index}",
        "inputs": inputs,
        "outputs": outputs,
        **asdict(arithmetic.clamp(context.graph, context.op)),
    }
    constants = (
        bytes_array(f"ts_weights_{index}", numbers.weight, f"{comment(context.op.name)}: {shape(numbers.weight.shape)}")
        + words_array(f"ts_bias_{index}", numbers.bias, "the input's zero point is folded in")
        + doubles_array(f"ts_scales_{index}", numbers.scales, "from sums to steps of the output")
        + struct("ts_dense", f"ts_dense_{index}", fields)
        + "\n"
    )
    pixels = context.graph.tensor[context.op.output].shape[0]
    if pixels == 1:
        return constants, f"    ts_dense_row({context.input_row()}, out, &ts_dense_{index});\n"
    call = f"ts_dense_row({context.input_row()} + x * {inputs}, out + x * {outputs}, &ts_dense_{index});"
    return constants, f"    for (int32_t x = 0; x < {pixels}; ++x) {{\n        {call}\n    }}\n"


def _add(context: Context) -> Body:
    name = context.name("add")
    a, b = context.input_row(0), context.input_row(1)
    call = f"    ts_add_{context.family.key}({a},\n        {b}, out, {context.plane.data_bytes}, &{name});\n"
    return struct("ts_add", name, asdict(arithmetic.addition(context.graph, context.op))) + "\n", call


def _binary(context: Context) -> Body:
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


def _pool_struct(context: Context) -> str:
    values = asdict(arithmetic.pool(context.graph, context.op))
    kept = {key: values[key] for key in ("channels", "columns", "kernel", "stride", "before", "low", "high")}
    return struct("ts_pool", context.name("pool"), kept) + "\n"


def _pool(context: Context) -> Body:
    kind = "average" if context.op.kind == "AVERAGE_POOL_2D" else "max"
    height = "height" if context.read().clip else str(context.read().height)
    call = f"    ts_{kind}_pool_row(rows, {height}, out, {context.plane.columns}, &{context.name('pool')});\n"
    return _pool_struct(context), context.window() + call


def _pool_rows(context: Context) -> Body:
    width, name = context.plane.columns, context.name("pool")
    finish = f"ts_average_pool_finish(sums, {context.stage.work}, out, {width}, &{name});"
    text = context.sums() + when("y == 0", [f"memset(sums, 0, {width * context.plane.channels * 4});"])
    text += f"    ts_average_pool_add({context.input_row()}, sums, {width}, &{name});\n"
    return _pool_struct(context), text + when(f"y == {context.stage.work - 1}", [finish])


def _mean(context: Context) -> Body:
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
    end = when(f"y == {context.stage.work - 1}", [finish])
    return constants, context.sums() + when("y == 0", [clear]) + add + end


def _lut(context: Context) -> Body:
    name = context.name("table")
    values = tables.lut(context.graph, context.op)
    constants = bytes_array(name, values, f"{comment(context.op.name)}: result of each value from -128 on") + "\n"
    call = f"    ts_lut_row({context.input_row()}, out, {context.plane.data_bytes}, {name}.values);\n"
    return constants, call


def _softmax(context: Context) -> Body:
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


def _pad(context: Context) -> Body:
    source, op, plane = context.source(), context.op, context.plane
    (before, _), (left, right) = op.pads
    row = context.at(context.read().plane, affine(1, source.top - before))
    arguments = f"{row}, out, {source.columns}, {source.channels}, {left}, {right}, {plane.zero_point}"
    inside = f"y >= {before} && y < {before + source.rows}"
    return "", (
        f"    if ({inside}) {{\n        ts_pad_row({arguments});\n"
        f"    }} else {{\n        memset(out, {plane.zero_point}, {plane.data_bytes});\n    }}\n"
    )


def _copy(context: Context) -> Body:
    return "", f"    memcpy(out, {context.input_row()}, {context.plane.data_bytes});\n"


def _flatten(context: Context) -> Body:
    size = context.source().data_bytes
    return "", f"    memcpy(out + y * {size}, {context.input_row()}, {size});\n"


def _slice(context: Context) -> Body:
    size = context.plane.data_bytes
    return "", f"    memcpy(out, {context.input_row()} + y * {size}, {size});\n"


KINDS: dict[str, Callable[[Context], Body]] = {
    "INPUT": _input,
    "POINTWISE": _pointwise,
    "DEPTHWISE3": _depthwise3,
    "CONV_ROW": _conv_row,
    "DEPTHWISE": _depthwise,
    "DENSE": _dense,
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
