"""Modelled cycles against sums by hand from the manuals' tables, of instructions that an emulator executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from target_programs import made, opened

from tinyscene.firmware_bench.targets import TARGETS

#: A return is 1 cycle and, on the M4, 2 to refill the pipeline.
_RETURN = 3
#: (assembly before `bx lr`, cycles on an M4); r0 points at a word that holds its own address.
M4 = {
    "nops": ("nop; nop; nop", 3),
    "one load": ("ldr r1,[r0]", 2),
    "loads in a row pipeline": ("ldr r1,[r0]; ldr r2,[r0]; ldrb r3,[r0]", 2 + 1 + 1),
    "but not through their target": ("ldr r1,[r0]; ldr r2,[r1]", 2 + 2),
    "wide loads too": ("ldr.w r12,[r0]; ldrsb.w r2,[r0,#1]; ldr.w r12,[r0]; ldr.w r3,[r12]", 2 + 1 + 1 + 2),
    "nor over an instruction": ("ldr r1,[r0]; nop; ldr r2,[r0]", 2 + 1 + 2),
    "stores": ("str r0,[r0]; strb r0,[r0,#5]; str.w r0,[r0,#8]", 3),
    "store with two registers": ("movs r1,#4; str r0,[r0,r1]", 1 + 2),
    "several registers": ("ldm r0,{r1,r2,r3}", 4),
    "push and pop": ("push {r4,r5,r6,lr}; pop.w {r4,r5,r6,lr}", 5 + 5),
    "two registers": ("ldrd r2,r3,[r0]; strd r2,r3,[r0]", 3 + 3),
    "multiplications": ("mul r1,r0,r0; mla r1,r0,r0,r1; smull r1,r2,r0,r0; smlad r1,r0,r0,r1; smmulr r1,r0,r0", 5),
    "division": ("movs r1,#3; sdiv r2,r0,r1; udiv r2,r0,r1", 1 + 12 + 12),
    "branch not taken": ("cmp r0,#0; beq 9f; 9:", 2),
    "branch taken": ("b 9f; nop; 9:", 1 + 2),
    "loop of three": ("movs r1,#3; 8: subs r1,#1; bne 8b", 1 + 3 + 3 + 2 * 2),
    "compare and branch": ("cbz r0,9f; cbnz r0,9f; nop; 9:", 1 + 1 + 2),
    "call": ("mov r3,lr; bl 9f; mov lr,r3; b 7f; 9: bx lr; 7:", 1 + 3 + 1 + 3 + 3),
    "condition that fails": ("cmp r0,#0; it eq; moveq r1,#1", 3),
    "floats": ("vadd.f32 s1,s0,s0; vmul.f32 s1,s1,s0; vmla.f32 s1,s0,s0; vdiv.f32 s2,s0,s1", 1 + 1 + 3 + 14),
    "more floats": ("vsqrt.f32 s1,s0; vfma.f32 s1,s0,s0; vmov r1,s0; vcmp.f32 s0,s1", 14 + 3 + 1 + 1),
    "floats of memory": ("vldr s0,[r0]; vstr s0,[r0]", 2 + 2),
    "floats in numbers": ("vpush {s16-s19}; vpop {s16-s19}; vldr d0,[r0]; vmov r2,r3,d0", 5 + 5 + 3 + 2),
    "table branch": ("movs r1,#0; tbb [pc,r1]; .byte 1,1; 9:", 1 + 4),
}  # fmt: skip
#: The same on an M0+; its return is 2.
M0PLUS = {
    "nops": ("nop; nop", 2),
    "loads": ("ldr r1,[r0]; ldr r2,[r0]; ldrb r3,[r0]", 6),
    "stores": ("str r0,[r0]; strb r0,[r0,#1]", 4),
    "multiplication": ("muls r0,r0,r0", 1),
    "push and pop": ("push {r4,r5,lr}; pop {r1,r2,r3}; mov lr,r3", 4 + 4 + 1),
    "several registers": ("ldm r0!,{r1,r2}", 3),
    "loop of three": ("movs r1,#3; 8: subs r1,#1; bne 8b", 1 + 3 + 3 + 2),
    "branch": ("b 9f; nop; 9:", 2),
    "call": ("mov r3,lr; bl 9f; mov lr,r3; b 7f; 9: bx lr; 7:", 1 + 3 + 1 + 2 + 2),
    "system register": ("mrs r1,primask", 3),
}


def _program(cases: dict[str, tuple[str, int]]) -> tuple[str, list[str]]:
    """One function a case, in assembly, and their names."""
    names = [f"case_{i}" for i in range(len(cases))]
    code = "".join(
        f'".global {name}\\n.type {name},%function\\n.thumb_func\\n.balign 4\\n'
        f'{name}:\\n{text}\\nbx lr\\n.size {name},.-{name}\\n"\n'
        for name, (text, _) in zip(names, cases.values(), strict=True)
    )  # fmt: skip
    return f'__asm__(".syntax unified\\n.text\\n.thumb\\n"\n{code});\nint room[16];\n', names


@pytest.mark.parametrize(
    ("key", "cases", "back"), [("cortex-m4", M4, _RETURN), ("cortex-m0plus", M0PLUS, 2)], ids=["m4", "m0plus"]
)
@pytest.mark.parametrize("emulator", ["unicorn", "qemu"])
def test_cycles(key: str, cases: dict[str, tuple[str, int]], back: int, emulator: str, tmp_path: Path) -> None:
    source, names = _program(cases)
    firmware = made(TARGETS[key], {"cases.c": source}, tmp_path, (*names, "room"))
    with opened(firmware, emulator) as machine:
        room = machine.symbol("room")
        found = {}
        for title, name in zip(cases, names, strict=True):
            machine.write(room, room.to_bytes(4, "little"))
            found[title] = machine.call(name, room).cycles
    assert found == {title: cycles + back for title, (_, cycles) in cases.items()}


def test_parts_without_published_timings_have_no_cycles(tmp_path: Path) -> None:
    for key in ("cortex-m7", "cortex-m33", "rv32"):
        firmware = made(TARGETS[key], {"a.c": "int f(int x); int f(int x) { return x * x; }"}, tmp_path, ("f",))
        with opened(firmware, "unicorn") as machine:
            result = machine.call("f", 7)
        assert (result.value, result.cycles) == (49, None)
