"""Machines: the same bytes on every target, exact counts, equal in both emulators, and errors instead of hangs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from target_programs import (
    BARE,
    COUNTED,
    FUNCTIONS,
    OUTPUTS,
    PIXELS,
    PROGRAM,
    WAYS,
    made,
    opened,
    pointwise_case,
    pointwise_files,
)

from tinyscene.firmware_bench.targets import TARGETS, Firmware, MachineError, open_machine
from tinyscene.firmware_bench.targets.aarch64_machine import Aarch64Machine
from tinyscene.firmware_bench.targets.qemu_machine import QemuMachine
from tinyscene.firmware_bench.targets.unicorn_machine import UnicornMachine
from tinyscene.runtime.errors import InputError, UnavailableError

Programs = Callable[[str, str], Firmware]
_FILES = {
    "pointwise": (pointwise_files, ("run", "weights", "in", "out", "requant")),
    "program": (lambda: {"program.c": PROGRAM}, FUNCTIONS),
}
COUNTING = [way for way in WAYS if way[1] in ("unicorn", "qemu")]
BOTH = [key for key in BARE if TARGETS[key].emulators == ("unicorn", "qemu")]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Firmware by target and program, each built once."""
    folder = tmp_path_factory.mktemp("programs")
    built: dict[tuple[str, str], Firmware] = {}

    def get(key: str, program: str) -> Firmware:
        if (key, program) not in built:
            place = folder / program
            place.mkdir(exist_ok=True)
            if program == "counted":
                files, keep = {"counted.c": COUNTED[TARGETS[key].architecture]}, ("straight", "loop", "pages")
            else:
                make, keep = _FILES[program]
                files = make()
            built[key, program] = made(TARGETS[key], files, place, keep)
        return built[key, program]

    return get


@pytest.mark.parametrize(("key", "emulator"), WAYS)
def test_every_target_gives_the_bytes_of_numpy(key: str, emulator: str, programs: Programs) -> None:
    rng = np.random.default_rng(11)
    with opened(programs(key, "pointwise"), emulator) as machine:
        for _ in range(3):
            buffers, expected = pointwise_case(rng)
            for name, data in buffers.items():
                machine.write(machine.symbol(name), data)
            assert machine.call("run", PIXELS).value == -PIXELS
            found = np.frombuffer(machine.read(machine.symbol("out"), PIXELS * OUTPUTS), np.int8)
            np.testing.assert_array_equal(found.reshape(PIXELS, OUTPUTS), expected)
            assert len(np.unique(expected)) > 10


@pytest.mark.parametrize(("key", "emulator"), WAYS)
def test_memory_arguments_and_initial_values(key: str, emulator: str, programs: Programs) -> None:
    with opened(programs(key, "program"), emulator) as machine:
        assert machine.read(machine.symbol("started"), 4) == (77).to_bytes(4, "little")
        assert machine.read(machine.symbol("buffer"), 3000) == bytes(3000)
        data = np.random.default_rng(1).integers(0, 256, 3000, np.uint8).tobytes()
        machine.write(machine.symbol("buffer"), data)
        assert machine.read(machine.symbol("buffer"), 3000) == data
        assert machine.read(machine.symbol("buffer") + 1501, 7) == data[1501:1508]
        assert machine.call("eight", 1, 2, 3, 4, 5, 6, 7, 8).value == 87654321
        assert machine.call("eight", -1, 0, 0, 0, -1, 0, 0, 0).value == -10001
        with pytest.raises(InputError, match="9 arguments"):
            machine.call("eight", *range(9))
        with pytest.raises(InputError, match="no symbol 'absent'"):
            machine.call("absent")


@pytest.mark.parametrize(("key", "emulator"), COUNTING)
def test_counts_of_known_instructions(key: str, emulator: str, programs: Programs) -> None:
    with opened(programs(key, "counted"), emulator) as machine:
        assert machine.call("straight").instructions == 6
        assert machine.call("pages").by_function == {"pages": 2502}
        for n in (1, 2, 1000):
            result = machine.call("loop", n)
            assert result.instructions == 2 * n + 2
            assert result.by_function == {"loop": 2 * n + 2}


@pytest.mark.parametrize("key", BOTH)
def test_the_two_emulators_agree(key: str, programs: Programs) -> None:
    """Value, instructions, profile, modelled cycles, stack and memory."""
    firmware = programs(key, "program")
    results, memories = [], []
    for emulator in ("unicorn", "qemu"):
        with opened(firmware, emulator) as machine:
            results.append([machine.call("mix", n) for n in (20, 300, 300)] + [machine.call("deep", 3)])
            memories.append(machine.read(machine.symbol("buffer"), 3000))
    assert results[0] == results[1]
    assert memories[0] == memories[1]
    assert len(set(memories[0])) > 50


@pytest.mark.parametrize(("key", "emulator"), COUNTING)
def test_the_profile_adds_up(key: str, emulator: str, programs: Programs) -> None:
    with opened(programs(key, "program"), emulator) as machine:
        few, many, again = machine.call("mix", 50), machine.call("mix", 400), machine.call("mix", 400)
        for result in (few, many):
            assert sum(result.by_function.values()) == result.instructions
            assert {"mix", "choose"} <= set(result.by_function)
            assert "?" not in result.by_function
        assert many == again  # nothing is left over from the call before
        assert 7 < many.by_function["choose"] / few.by_function["choose"] < 9


@pytest.mark.parametrize(("key", "emulator"), COUNTING)
def test_stack(key: str, emulator: str, programs: Programs) -> None:
    with opened(programs(key, "program"), emulator) as machine:
        deep, shallow = machine.call("deep", 0).stack_bytes, machine.call("shallow", 0).stack_bytes
        assert deep is not None
        assert shallow is not None
        assert deep - shallow == 768 - 512
        assert 512 <= shallow < 640


def test_python_counts_as_c_does(programs: Programs) -> None:
    firmware = programs("cortex-m4", "program")
    with opened(firmware, "unicorn") as fast, UnicornMachine(firmware, python_hook=True) as slow:
        assert fast.call("mix", 200) == slow.call("mix", 200)
        with pytest.raises(MachineError, match="forever"):
            slow.call("forever", 1, limit=10_000)


@pytest.mark.parametrize(("key", "emulator"), COUNTING)
def test_what_runs_away_is_stopped(key: str, emulator: str, programs: Programs) -> None:
    with opened(programs(key, "program"), emulator) as machine:
        with pytest.raises(MachineError, match=r"within 100000 instructions, it was at 0x\w+ in forever"):
            machine.call("forever", 1, limit=100_000)
        with pytest.raises(MachineError, match="open a new one"):
            machine.call("mix", 1)


@pytest.mark.parametrize(("key", "emulator"), COUNTING)
def test_a_fault_says_where(key: str, emulator: str, programs: Programs) -> None:
    with opened(programs(key, "program"), emulator) as machine:
        with pytest.raises(MachineError, match=r"bad faulted at 0x\w+ in bad"):
            machine.call("bad", 0x0A00_0000 if key in ("rv32", "cortex-m55") else 0x9000_0000)
        with pytest.raises(MachineError, match="open a new one"):
            machine.call("mix", 1)


@pytest.mark.parametrize(("key", "emulator"), COUNTING)
def test_a_stack_that_grows_too_far_is_an_error(key: str, emulator: str, programs: Programs) -> None:
    with opened(programs(key, "program"), emulator) as machine, pytest.raises(MachineError):
        machine.call("endless", 0, limit=10_000_000)


@pytest.mark.parametrize("emulator", ["unicorn", "qemu"])
def test_a_jump_to_nowhere_is_an_error(emulator: str, programs: Programs) -> None:
    with opened(programs("cortex-m4", "program"), emulator) as machine, pytest.raises(MachineError, match="stray"):
        machine.call("stray", 0x90000001)


def test_addresses_without_memory(programs: Programs) -> None:
    for key, emulator in (("cortex-m4", "unicorn"), ("host", "host")):
        with opened(programs(key, "program"), emulator) as machine:
            with pytest.raises(MachineError, match="no memory"):
                machine.read(0x9000_0000, 4)
            with pytest.raises(MachineError, match="no memory"):
                machine.write(0x9000_0000, b"1234")


@pytest.mark.parametrize("emulator", ["unicorn", "python", "qemu"])
def test_m0plus_refuses_unaligned_words(emulator: str, tmp_path: Path) -> None:
    """As the real one does, and the M4 does not."""
    source = "int f(int a); int f(int a) { return *(volatile int *)a; } int buffer[4];"
    for key in ("cortex-m0plus", "cortex-m4"):
        firmware = made(TARGETS[key], {"a.c": source}, tmp_path, ("f", "buffer"))
        with (
            UnicornMachine(firmware, python_hook=True) if emulator == "python" else opened(firmware, emulator)
        ) as machine:
            machine.write(machine.symbol("buffer"), bytes(range(16)))
            assert machine.call("f", machine.symbol("buffer") + 4).value == 0x07060504
            if key == "cortex-m4":
                assert machine.call("f", machine.symbol("buffer") + 1).value == 0x04030201
            else:
                with pytest.raises(MachineError, match=r"f faulted at 0x\w+ in f"):
                    machine.call("f", machine.symbol("buffer") + 1)


def test_a_dead_qemu_is_told_and_reaped(programs: Programs) -> None:
    with opened(programs("cortex-m4", "program"), "qemu") as machine:
        assert isinstance(machine, QemuMachine)
        process = machine._process
        process.kill()
        with pytest.raises(MachineError, match="the emulator ended"):
            machine.call("mix", 1)
    assert process.returncode is not None
    machine.close()


def test_qemu_ends_with_the_machine(programs: Programs) -> None:
    with opened(programs("rv32", "program"), "qemu") as machine:
        assert isinstance(machine, QemuMachine)
        process = machine._process
        assert process.poll() is None
    assert process.returncode is not None


def test_a_linux_program_that_ends_or_hangs_is_told(programs: Programs) -> None:
    firmware = programs("aarch64", "program")
    with opened(firmware, "aarch64") as machine, pytest.raises(MachineError, match="endless ended the program"):
        machine.call("endless", 0)
    with Aarch64Machine(firmware, seconds=0.3) as machine, pytest.raises(MachineError, match=r"within 0\.3 s"):
        machine.call("forever", 1)


def test_emulators_that_do_not_fit_or_are_missing(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cortex-m55 cannot run in 'unicorn', expected one of qemu"):
        open_machine(programs("cortex-m55", "program"), "unicorn")
    m4, pi = programs("cortex-m4", "program"), programs("aarch64", "program")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UnavailableError, match="apt-get install --no-install-recommends qemu-system-arm"):
        open_machine(m4, "qemu")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(UnavailableError, match="qemu-user-static"):
        open_machine(pi)
    monkeypatch.setitem(__import__("sys").modules, "unicorn", None)
    with pytest.raises(UnavailableError, match=r"pip install 'tinyscene\[emulate\]'"):
        open_machine(m4)
