"""The generated C: the same bytes as LiteRT's reference kernels, warnings, sanitizers, determinism, names."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generated import STRICT, HostModel, Reference, adversarial, assert_same, compiler, write
from numpy.typing import NDArray

from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.graph import Graph
from tinyscene.firmware_bench.families import family
from tinyscene.firmware_bench.generator import generate
from tinyscene.firmware_bench.generator.emit import comment, float32, string
from tinyscene.firmware_bench.generator.steps import step_table
from tinyscene.firmware_bench.plan.planes import view
from tinyscene.firmware_bench.plan.planner import plan_network
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.int8 import quantize as to_int8

FOREIGN = sorted((Path(__file__).parents[1] / "export" / "foreign").glob("*.tflite"))

NETWORKS = ("frozen_graph", "same_graph", "grn_graph")

#: Nothing that a label may hold must reach the compiler.
NASTY = ('quote " and \\ backslash', "*/ /* comment", "line\nbreak\ttab\0nul", "??/ ??= trigraph", "Größe 音 🎧\\")


def int8_inputs(graph: Graph, log_mels: NDArray[np.float32]) -> list[NDArray[np.int8]]:
    quant = graph.input_quant
    return list(to_int8(log_mels, quant.scale, quant.zero_point)[..., None])


@pytest.mark.parametrize("network", NETWORKS)
def test_small_networks_are_bit_exact(
    network: str, small_inputs: NDArray[np.float32], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    graph: Graph = request.getfixturevalue(network)
    host = HostModel(generate(graph, "scalar"), tmp_path)
    inputs = int8_inputs(graph, small_inputs)
    answers = assert_same(host, Reference(graph), [*inputs, *adversarial(inputs[0].shape, 12)])
    assert len(answers) > len(inputs), "the network says the same whatever it hears: a test of nothing"


@pytest.mark.parametrize("network", NETWORKS)
def test_every_choice_of_whole_tensors_gives_the_same(
    network: str, small_inputs: NDArray[np.float32], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The plan chooses what memory it takes, never what the network answers."""
    from tinyscene.firmware_bench.plan import planner

    graph: Graph = request.getfixturevalue(network)
    stages = plan_network(graph, family("scalar")).stages
    joints = planner._joints(stages)
    inputs = int8_inputs(graph, small_inputs)[:2]
    for number, whole in enumerate(((), tuple(joints))):
        plan = planner._plan(graph, stages, whole, family("scalar"))
        planner.prove(plan.stages, plan.steps, plan.lives, plan.place, plan.arena_bytes)
        host = HostModel(generate(graph, "scalar", plan=plan), tmp_path / str(number), ("-O0",))
        assert_same(host, Reference(graph), inputs)


@pytest.mark.slow
def test_published_network_is_bit_exact(
    published_graph: Graph, real_log_mels: NDArray[np.float32], tmp_path: Path
) -> None:
    """Trained weights of base width 32: 100 real clips and 100 adversarial inputs, every tensor."""
    host = HostModel(generate(published_graph, "scalar"), tmp_path, ("-O2",))
    reference = Reference(published_graph)
    inputs = int8_inputs(published_graph, real_log_mels)
    assert len(inputs) == 100
    assert len(assert_same(host, reference, inputs)) > 90
    assert_same(host, reference, adversarial(inputs[0].shape, 100))


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_models_of_other_converters(path: Path, tmp_path: Path) -> None:
    graph = read_tflite(path.read_bytes())
    host = HostModel(generate(graph, "scalar"), tmp_path)
    shape = view(graph, graph.input)
    inputs = list(np.random.default_rng(2).integers(-128, 128, (6, *shape)).astype(np.int8))
    assert len(assert_same(host, Reference(graph), [*inputs, *adversarial(shape, 12)])) > 6


def test_input_in_a_ring_of_frames(frozen_graph: Graph, small_inputs: NDArray[np.float32], tmp_path: Path) -> None:
    """The front end leaves frames in a ring: wherever the oldest is, the answer is that of the plain plane."""
    host = HostModel(generate(frozen_graph, "scalar"), tmp_path)
    values = int8_inputs(frozen_graph, small_inputs)[0]
    expected = host.run(values)
    for first in (0, 1, 13, 31):
        np.testing.assert_array_equal(host.run(values, ring_from=first), expected)


@pytest.mark.parametrize("name", ["gcc", "clang-19"])
@pytest.mark.parametrize("network", ["frozen_graph", "grn_graph"])
@pytest.mark.parametrize("defines", [(), ("-DTS_MODEL_TAP",)], ids=["release", "debug"])
def test_compiles_without_warnings(
    name: str, network: str, defines: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sources = write(generate(request.getfixturevalue(network), "scalar"), tmp_path, tap=False)
    for source in sources:
        command = [compiler(name), *STRICT, "-Wpedantic", "-Wundef", "-Wshadow", *defines, "-c", source, "-o", "x.o"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)


_MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include "model.h"
int main(void) {
    int8_t *arena = malloc(TS_MODEL_ARENA_BYTES); /* to the byte, so that ASan sees both ends */
    int8_t *values = malloc(TS_MODEL_ROWS * TS_MODEL_COLUMNS), *logits = malloc(TS_MODEL_CLASSES);
    const ts_input input = {values, TS_MODEL_COLUMNS, 1, 0, TS_MODEL_COLUMNS};
    while (fread(values, TS_MODEL_ROWS * TS_MODEL_COLUMNS, 1, stdin) == 1) {
        ts_model_run(arena, &input, logits);
        fwrite(logits, TS_MODEL_CLASSES, 1, stdout);
    }
    free(arena);
    free(values);
    free(logits);
    return 0;
}
"""


@pytest.mark.parametrize("network", NETWORKS)
def test_sanitizers_find_nothing(
    network: str, small_inputs: NDArray[np.float32], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    graph: Graph = request.getfixturevalue(network)
    sources = write(generate(graph, "scalar"), tmp_path, tap=False)
    (tmp_path / "main.c").write_text(_MAIN)
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = [compiler(), *STRICT, *flags, *sources, "main.c", "-o", "program"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100)
    inputs = [*int8_inputs(graph, small_inputs)[:3], *adversarial((64, 32, 1), 8)]
    given = b"".join(values.tobytes() for values in inputs)
    done = subprocess.run([str(tmp_path / "program")], input=given, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    reference = Reference(graph)
    expected = b"".join(reference.run(values)[graph.output].tobytes() for values in inputs)
    assert done.stdout == expected


def test_stack_is_small(frozen_graph: Graph, tmp_path: Path) -> None:
    """The run and the row it makes, as the compiler states it for a Cortex-M4, functions put in line or not."""
    sources = write(generate(frozen_graph, "scalar"), tmp_path, tap=False)
    assert "model.c" in sources
    for level in ("-O0", "-Os", "-O2"):
        command = [compiler("arm-none-eabi-gcc"), *STRICT, "-mcpu=cortex-m4", level, "-fstack-usage", "-c", "model.c"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
        sizes = [int(line.split("\t")[1]) for line in (tmp_path / "model.su").read_text().splitlines()]
        assert sum(sorted(sizes)[-2:]) < 300


def test_same_input_same_bytes(grn_graph: Graph) -> None:
    one, two = (generate(grn_graph, "scalar", labels=NASTY[:4]) for _ in range(2))
    assert one.files == two.files
    assert one.tensors == two.tensors


@pytest.mark.parametrize("key", ["scalar", "word", "dsp", "mve", "host"])
def test_every_family_has_its_files(key: str, frozen_graph: Graph) -> None:
    model = generate(frozen_graph, key)
    assert f"ts_pointwise_{key}" in str(model.files["model.c"])
    for content in model.files.values():
        for name in re.findall(r'^#include "([^"]+)"', str(content), re.MULTILINE):
            assert name in model.files
    assert all(len(line) <= 120 for line in str(model.files["model.c"]).splitlines())


def test_labels_and_names_from_outside(frozen_graph: Graph, tmp_path: Path) -> None:
    labels = NASTY[:4]
    graph = replace(frozen_graph, name="*/ #error \\\n" + NASTY[4])
    model = generate(graph, "scalar", labels=labels, contract_hash='"; #error')
    sources = write(model, tmp_path, tap=False)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "model.h"\nint main(void) {\n'
        "    for (int i = 0; i < TS_MODEL_CLASSES; ++i) { fwrite(ts_model_labels[i], 1, 30, stdout); }\n"
        "    fputs(TS_MODEL_NAME, stdout);\n    return 0;\n}\n"
    )
    command = [compiler(), *STRICT, "-trigraphs", *sources, "main.c", "-o", "program"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    printed = subprocess.run([str(tmp_path / "program")], capture_output=True, check=True, timeout=10).stdout
    for label in (*labels, graph.name):
        assert label.split("\0")[0].encode() in printed
    assert str(model.files["model.c"]).isascii()
    assert str(model.files["model.h"]).isascii()


def test_pieces_of_text() -> None:
    assert string('a"b\\?') == '"a\\"b\\\\\\?"'
    assert string("ö1") == '"\\303\\2661"'
    assert comment("a*/b\\\n??/c") == "a_/b____/c"
    assert float32(1.0) == "1.0f"
    assert float32(float(np.float32(0.1))) == "0.100000001f"
    assert float32(1e-9) == "9.99999972e-10f"


@pytest.mark.parametrize("seed", range(20))
def test_step_table_gives_the_steps_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps: list[int] = []
    for _ in range(rng.integers(1, 8)):
        steps += list(rng.integers(0, 6, rng.integers(1, 12))) * int(rng.integers(1, 9))
    table = step_table(steps)
    assert list(table.unrolled()) == steps


def test_step_table_is_short(frozen_graph: Graph) -> None:
    steps = plan_network(frozen_graph, family("scalar")).steps
    table = step_table(steps)
    assert len(table.steps) + 3 * len(table.loops) < len(steps) / 2


def test_what_is_refused(frozen_graph: Graph, same_graph: Graph) -> None:
    with pytest.raises(InputError, match="3 labels for 4 classes"):
        generate(frozen_graph, "scalar", labels=("a", "b", "c"))
    with pytest.raises(InputError, match="unknown kernel family 'avx'"):
        generate(frozen_graph, "avx")
    plan = plan_network(frozen_graph, family("dsp"))
    with pytest.raises(InputError, match="the plan is for"):
        generate(frozen_graph, "scalar", plan=plan)
