"""The same network as `bakenn` (PyPI) makes C of it: layer by layer, portable or with CMSIS-NN's kernels.

It takes no MEAN, so the file it is given ends in an average pool over the whole plane, which costs the same: only its
instructions and memory are compared, not its answers.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from ...export.formats.tflite_writer import write_tflite
from ...export.graph import Graph, Op, Tensor
from ...runtime.errors import InputError, UnavailableError

INSTALL = "pip install 'tinyscene[baseline]'"

_RUN = "ts_bench_bakenn"


@dataclass(frozen=True)
class Bakenn:
    """C sources by name; `run` is a function without arguments that makes one inference on zeros."""

    files: dict[str, str]
    run: str
    arena_bytes: int


def bakenn(graph: Graph, cmsis_nn: bool) -> Bakenn:
    """C of the int8 `graph` by bakenn.

    Raises `UnavailableError` where bakenn is not installed, and `InputError` with its reason where it refuses the
    network.
    """
    if importlib.util.find_spec("bakenn") is None or importlib.util.find_spec("tflite") is None:
        raise UnavailableError(f"bakenn is not installed: run `{INSTALL}`")
    import bakenn as package

    options = package.CBackendOptions(
        kernel_policy=package.KernelPolicy.STATIC_PRIORITY if cmsis_nn else package.KernelPolicy.PORTABLE,
        enable_cmsis_nn=cmsis_nn,
        target=package.CORTEX_M4 if cmsis_nn else package.PORTABLE_32,
    )
    with tempfile.TemporaryDirectory(prefix="tinyscene-bakenn-") as name:
        folder = Path(name)
        model = folder / "model.tflite"
        model.write_bytes(write_tflite(pooled(graph)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                package.compile_tflite(model, folder / "c", name="baseline", backend_options=options)
        except package.BakeNNError as error:
            raise InputError(f"bakenn refuses {graph.name}: {str(error).splitlines()[0]}") from error
        files = {file.name: file.read_text() for file in sorted((folder / "c").rglob("*.[ch]"))}
    header = files["bknn_baseline.h"]
    arena = int(_number(header, "ARENA_SIZE"))
    files["ts_bench_bakenn.c"] = _CALLER
    # CMSIS-NN includes the header and calls nothing of it. Its own freestanding mode would copy byte by byte.
    files["math.h"] = ""
    return Bakenn(files, _RUN, arena)


def pooled(graph: Graph) -> Graph:
    """`graph` with a global MEAN at its end as an average pool and a RESHAPE; other graphs as they are."""
    last = graph.ops[-1]
    if last.kind != "MEAN" or last.axes != (1, 2):
        return graph
    source = graph.tensor[last.inputs[0]]
    channels = source.shape[3]
    pool = Op("AVERAGE_POOL_2D", last.inputs, f"{last.output}.pool", window=(source.shape[1], source.shape[2]))
    flat = Op("RESHAPE", (pool.output,), last.output, shape=graph.tensor[last.output].shape)
    tensors = [tensor for tensor in graph.tensors if tensor.name != last.output]
    tensors += [
        Tensor(pool.output, (1, 1, 1, channels), source.quant),
        Tensor(last.output, graph.tensor[last.output].shape, source.quant),
    ]
    return Graph(graph.name, tuple(tensors), (*graph.ops[:-1], pool, flat), graph.input, graph.output).validate()


def _number(header: str, name: str) -> str:
    found = re.search(rf"#define BKNN_BASELINE_{name} (\d+)u", header)
    if found is None:
        raise InputError(f"bakenn's header does not state its {name.lower()}: install the version of `{INSTALL}`")
    return found.group(1)


_CALLER = """\
#include "bknn_baseline.h"

static uint8_t arena[BKNN_BASELINE_ARENA_SIZE] __attribute__((aligned(16)));
static int8_t input[BKNN_BASELINE_INPUT_SIZE];
static int8_t output[BKNN_BASELINE_OUTPUT_SIZE];

void ts_bench_bakenn(void);
void ts_bench_bakenn(void) {
    bknn_baseline_infer(arena, input, output);
}
"""
