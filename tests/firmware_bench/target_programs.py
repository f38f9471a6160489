"""Small programs for the tests of the targets, and which of those can run here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.firmware_bench.families import LIBRARY
from tinyscene.firmware_bench.targets import (
    TARGETS,
    Firmware,
    Machine,
    Target,
    available_toolchains,
    build,
    open_machine,
)
from tinyscene.runtime.errors import UnavailableError

#: Every way to run every target.
WAYS = [(key, emulator) for key, target in TARGETS.items() for emulator in target.emulators]
BARE = [key for key, target in TARGETS.items() if target.is_bare]

PIXELS, INPUTS, OUTPUTS = 5, 12, 7
#: A 1x1 convolution by the library's own kernel.
POINTWISE = """
#include "ts_kernels.h"
int8_t weights[7 * 12], in[5 * 12], out[5 * 7];
int32_t requant[7 * 3];
int32_t run(int32_t pixels);
int32_t run(int32_t pixels) {
    const ts_conv conv = {weights, requant, 12, 7, -3, -128, 127};
    ts_pointwise_scalar(in, out, pixels, &conv);
    return -pixels;
}
"""
#: By architecture: `straight` executes 6 instructions, `loop(n)` 2 n + 2, `pages` 2502: a narrow one, then wide ones,
#: of which every page of the emulator's memory cuts one in two.
COUNTED = {
    "arm": """
__asm__(".syntax unified\\n.text\\n.thumb\\n"
".global straight\\n.type straight,%function\\n.thumb_func\\nstraight:\\n"
"nop\\nnop\\nmovs r1,#1\\nmovs r2,#2\\nadds r0,r1,r2\\nbx lr\\n.size straight,.-straight\\n"
".global loop\\n.type loop,%function\\n.thumb_func\\nloop:\\n"
"nop\\n1: subs r0,r0,#1\\nbne 1b\\nbx lr\\n.size loop,.-loop\\n"
".global pages\\n.type pages,%function\\n.thumb_func\\n.balign 4\\npages:\\n"
"nop\\n.rept 2500\\ndmb\\n.endr\\nbx lr\\n.size pages,.-pages\\n");
""",
    "riscv": """
__asm__(".text\\n"
".global straight\\n.type straight,%function\\nstraight:\\n"
"nop\\nnop\\nli a1,1\\nli a2,2000\\nadd a0,a1,a2\\nret\\n.size straight,.-straight\\n"
".global loop\\n.type loop,%function\\nloop:\\n"
"nop\\n1: addi a0,a0,-1\\nbnez a0,1b\\nret\\n.size loop,.-loop\\n"
".global pages\\n.type pages,%function\\n.balign 4\\npages:\\n"
"nop\\n.rept 2500\\nadd a1,a2,a3\\n.endr\\nret\\n.size pages,.-pages\\n");
""",
    "aarch64": """
__asm__(".text\\n"
".global straight\\n.type straight,%function\\nstraight:\\n"
"nop\\nnop\\nmov x1,1\\nmov x2,2\\nadd x0,x1,x2\\nret\\n.size straight,.-straight\\n"
".global loop\\n.type loop,%function\\nloop:\\n"
"nop\\n1: subs x0,x0,1\\nbne 1b\\nret\\n.size loop,.-loop\\n"
".global pages\\n.type pages,%function\\npages:\\n"
"nop\\n.rept 2500\\nadd x1,x2,x3\\n.endr\\nret\\n.size pages,.-pages\\n");
""",
}
#: Calls, recursion, tables, floats, divisions, copies, eight arguments; and what goes wrong.
PROGRAM = """
#include <stdint.h>
#include <string.h>
#define OUTER __attribute__((noinline))
int32_t deep(int32_t n), shallow(int32_t n), mix(int32_t n), eight(int32_t, int32_t, int32_t, int32_t, int32_t,
    int32_t, int32_t, int32_t), forever(int32_t n), bad(intptr_t address), endless(int32_t n), stray(intptr_t address);
uint8_t buffer[3000];
const int32_t table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
int32_t started = 77;
static OUTER void fill(volatile uint8_t *to, int32_t n) { for (int32_t i = 0; i < n; ++i) to[i] = (uint8_t)i; }
OUTER int32_t deep(int32_t n) { volatile uint8_t a[768]; fill(a, 768); return a[n & 255]; }
OUTER int32_t shallow(int32_t n) { volatile uint8_t a[512]; fill(a, 512); return a[n & 255]; }
static OUTER int32_t choose(int32_t i) {
    switch (i % 7) { case 0: return 11; case 1: return i; case 2: return i / 3; case 3: return -i;
    case 4: return table[i & 15]; case 5: return i << 3; default: return i ^ 0x55; }
}
int32_t mix(int32_t n) {
    int64_t sum = 0;
    float x = 0.5f;
    for (int32_t i = 0; i < n; ++i) {
        sum += (int64_t)choose(i) * (i + 1);
        x = x * 0.9f + (float)i / 7.0f;
        if (x > 10.0f) { x -= 10.0f; ++sum; }
        memcpy(buffer + 4 * i, &x, 4);
    }
    memmove(buffer + 1, buffer, 64);
    memset(buffer + 2000, (int)(sum & 255), 100);
    return (int32_t)(sum / 3) + started;
}
int32_t eight(int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f, int32_t g, int32_t h) {
    return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f + 1000000 * g + 10000000 * h;
}
int32_t forever(int32_t n) { volatile int32_t i = n; while (i) { i = i | 1; } return i; }
int32_t bad(intptr_t address) { return *(volatile int32_t *)address; }
OUTER int32_t endless(int32_t n) { volatile int32_t a[64]; a[n & 63] = n; return endless(n + 1) + a[n & 63]; }
int32_t stray(intptr_t address) { return ((int32_t (*)(void))address)(); }
"""
FUNCTIONS = ("deep", "shallow", "mix", "eight", "forever", "bad", "endless", "stray", "buffer", "started")


def made(target: Target, files: dict[str, str], folder: Path, keep: tuple[str, ...]) -> Firmware:
    """The files built by the first compiler at hand, or the test skipped."""
    toolchains = available_toolchains(target)
    if not toolchains:
        pytest.skip(f"no compiler for {target.key}: run `pip install ziglang`")
    return build(target, files, folder / f"{target.key}.elf", toolchain=toolchains[0], keep=keep, strict=False)


def opened(firmware: Firmware, emulator: str) -> Machine:
    """A machine, or the test skipped because its emulator is not installed."""
    try:
        return open_machine(firmware, emulator)
    except UnavailableError as error:
        pytest.skip(str(error))


def pointwise_files() -> dict[str, str]:
    """The convolution and the library's files that it needs."""
    names = ("ts_kernels.h", "ts_requantize.h", "ts_kernels_scalar.c")
    return {"bench.c": POINTWISE, **{name: (LIBRARY / name).read_text() for name in names}}


def pointwise_case(rng: np.random.Generator) -> tuple[dict[str, bytes], NDArray[np.int8]]:
    """Random bytes for the convolution's buffers and what `out` has to be, by numpy (exact rationals in float64)."""
    weights = rng.integers(-127, 128, (OUTPUTS, INPUTS)).astype(np.int8)
    pixels = rng.integers(-128, 128, (PIXELS, INPUTS)).astype(np.int8)
    bias = rng.integers(-5000, 5000, OUTPUTS).astype(np.int32)
    multiplier = rng.integers(2**30, 2**31, OUTPUTS)
    shift = rng.integers(-9, -4, OUTPUTS)
    sums = pixels.astype(np.int64) @ weights.T.astype(np.int64) + bias
    product = sums * multiplier
    high = (product + np.where(product >= 0, 2**30, 1 - 2**30)) / 2**31
    high = np.trunc(high).astype(np.int64)
    scaled = np.sign(high) * ((np.abs(high) + (1 << (-shift - 1))) >> -shift)
    expected = np.clip(scaled - 3, -128, 127).astype(np.int8)
    requant = np.stack([bias, multiplier, shift], axis=1).astype(np.int32)
    return {"weights": weights.tobytes(), "in": pixels.tobytes(), "requant": requant.tobytes()}, expected
