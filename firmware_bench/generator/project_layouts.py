"""Where each build system wants the files of a project; the texts are in `templates`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ..families import LIBRARY
from .project import Sources

Tree = dict[str, str | bytes]

_TEMPLATES = Path(__file__).parent / "templates"

#: Name of the Arduino library and of the header that a sketch includes.
ARDUINO = "TinysceneClassifier"


def template(file: str, **values: str) -> str:
    """A file of `templates` with @NAME@ replaced by the value of `name`."""
    text = (_TEMPLATES / file).read_text()
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1].lower()], text)


def plain(sources: Sources) -> Tree:
    """`src` is the library, `programs` what runs on a machine with files, `firmware` what runs on a board."""
    tree = _common(sources)
    tree["README.md"] = template("README.plain.md", **_words(sources))
    return tree


def cmake(sources: Sources) -> Tree:
    """The plain folder with a CMakeLists.txt: the target tinyscene::model, and the programs."""
    tree = _common(sources)
    tree["README.md"] = template("README.cmake.md", **_words(sources))
    targets = ["selftest"] if sources.vectors is not None else []
    targets += ["demo"] if sources.listens else []
    blocks = [_CMAKE[target] for target in [*targets, "firmware"]]
    tree["CMakeLists.txt"] = template(
        "CMakeLists.txt",
        name=_comment(sources.name),
        family=sources.family,
        sources="\n".join(f"  src/{name}" for name in _c_files(sources.library)),
        programs="ON" if sources.portable else "OFF",
        targets="\n".join(blocks),
    )
    return tree


_CMAKE = {
    "selftest": """\
  # The same sources once more: here they show every row that they make.
  add_executable(selftest programs/selftest.c ${sources})
  target_include_directories(selftest PRIVATE src)
  target_compile_definitions(selftest PRIVATE TS_MODEL_TAP)
  add_test(NAME selftest COMMAND selftest ${CMAKE_CURRENT_SOURCE_DIR}/golden.bin)
""",
    "demo": """\
  add_executable(demo programs/demo.c)
  target_link_libraries(demo PRIVATE tinyscene_model)
""",
    "firmware": """\
  # It answers on stdin and stdout; for a board take the port of that board in place of the host's.
  add_executable(firmware firmware/main.c firmware/ts_firmware.c firmware/ts_protocol.c firmware/ts_reply.c
    firmware/ports/host/board.c)
  target_include_directories(firmware PRIVATE firmware firmware/ports)
  target_link_libraries(firmware PRIVATE tinyscene_model)
""",
}


def arduino(sources: Sources) -> Tree:
    """An Arduino library, format 1.5: one header at the top of `src`, everything else in a folder below it."""
    inner = "tinyscene"
    firmware = {name: content for name, content in sources.firmware.items() if name != "main.c"}
    tree: Tree = {f"src/{inner}/{name}": content for name, content in {**sources.library, **firmware}.items()}
    top = ["ts_scene.h" if sources.listens else "model.h", "ts_board.h", "ts_firmware.h"]
    tree[f"src/{ARDUINO}.h"] = "\n".join(
        [
            f"/* {_comment(sources.name)}: what a sketch includes. */",
            "#ifndef TINYSCENE_CLASSIFIER_H",
            "#define TINYSCENE_CLASSIFIER_H",
            "",
            *(f'#include "{inner}/{name}"' for name in top),
            "",
            "#endif",
            "",
        ]
    )
    example = "SceneClassifier" if sources.listens else "PlaneClassifier"
    for sketch in (example, "SerialProtocol"):
        tree[f"examples/{sketch}/{sketch}.ino"] = template(f"{sketch}.ino", header=ARDUINO)
    tree["library.properties"] = template("library.properties", **_words(sources), library=ARDUINO)
    words = ("ts_scene", "ts_input") if sources.listens else ("ts_input",)
    tree["keywords.txt"] = "".join(f"{word}\tKEYWORD1\n" for word in words) + "ts_model_run\tKEYWORD2\n"
    tree["README.md"] = template("README.arduino.md", **_words(sources), library=ARDUINO)
    return tree


def zephyr(sources: Sources) -> Tree:
    """A Zephyr module with a sample."""
    tree: Tree = {f"src/{name}": content for name, content in sources.library.items()}
    sample = "samples/serial_protocol"
    for name, content in sources.firmware.items():
        if name != "main.c":
            tree[f"{sample}/src/{name}"] = content
    tree[f"{sample}/src/main.c"] = template("zephyr_main.c")
    tree[f"{sample}/CMakeLists.txt"] = template("zephyr_sample.cmake")
    tree[f"{sample}/prj.conf"] = "CONFIG_TINYSCENE_MODEL=y\nCONFIG_SERIAL=y\nCONFIG_CONSOLE=y\n" + _ZEPHYR_QUIET
    tree[f"{sample}/sample.yaml"] = template("zephyr_sample.yaml")
    tree["zephyr/module.yml"] = template("zephyr_module.yml")
    tree["zephyr/Kconfig"] = template("zephyr_Kconfig")
    listed = "\n".join(f"    ../src/{name}" for name in _c_files(sources.library))
    tree["zephyr/CMakeLists.txt"] = template("zephyr.cmake", name=_comment(sources.name), sources=listed)
    tree["README.md"] = template("README.zephyr.md", **_words(sources))
    return tree


#: Nothing but the protocol may come over the console.
_ZEPHYR_QUIET = "CONFIG_UART_CONSOLE=n\nCONFIG_BOOT_BANNER=n\nCONFIG_PRINTK=n\nCONFIG_LOG=n\n"

LAYOUTS: Mapping[str, Callable[[Sources], Tree]] = {
    "plain": plain,
    "cmake": cmake,
    "arduino": arduino,
    "zephyr": zephyr,
}


def _common(sources: Sources) -> Tree:
    tree: Tree = {f"src/{name}": content for name, content in sources.library.items()}
    tree |= {f"firmware/{name}": content for name, content in sources.firmware.items()}
    ports = LIBRARY / "ports"
    tree |= {f"firmware/ports/{path.relative_to(ports).as_posix()}": path.read_text() for path in ports.rglob("*.[ch]")}
    if sources.listens:
        tree["programs/demo.c"] = template("demo.c")
    if sources.vectors is not None:
        tree["programs/selftest.c"] = template("selftest.c")
        tree["golden.bin"] = sources.vectors
    return tree


def _words(sources: Sources) -> dict[str, str]:
    """What the READMEs say of a model."""
    use, doing = ("ts_scene.h", _LISTENING) if sources.listens else ("model.h", _CLASSIFYING)
    programs = ""
    if sources.vectors is not None:
        programs += _SELFTEST
    if sources.listens:
        programs += _DEMO
    return {
        "name": _comment(sources.name),
        "family": sources.family,
        "header": use,
        "example": doing,
        "programs": programs,
        "machine": "this machine" if sources.portable else f"a machine that runs the {sources.family} kernels",
    }


_LISTENING = """\
static ts_scene scene;                       /* all the memory that it takes */
ts_scene_init(&scene);
if (ts_scene_feed(&scene, pcm, n) && ts_scene_ready(&scene)) {
    int8_t logits[TS_MODEL_CLASSES];
    ts_scene_infer(&scene, logits);
    puts(ts_model_labels[ts_scene_decide(logits)]);
}"""
_CLASSIFYING = """\
static int8_t arena[TS_MODEL_ARENA_BYTES] __attribute__((aligned(16)));
const ts_input input = {plane, TS_MODEL_COLUMNS * TS_MODEL_CHANNELS, TS_MODEL_CHANNELS, 0, TS_MODEL_COLUMNS};
int8_t logits[TS_MODEL_CLASSES];
ts_model_run(arena, &input, logits);"""
_SELFTEST = """\
cc -std=c99 -O2 -Isrc -DTS_MODEL_TAP programs/selftest.c src/*.c -lm -o selftest && ./selftest golden.bin
"""
_DEMO = """\
cc -std=c99 -O2 -Isrc programs/demo.c src/*.c -lm -o demo && ./demo < audio.raw
"""


def _c_files(files: Mapping[str, str | bytes]) -> list[str]:
    return sorted(name for name in files if name.endswith(".c"))


def _comment(text: str) -> str:
    """A name that ends no comment and no line."""
    return re.sub(r"[^\w .,+-]", "_", text)
