"""Firmware in unicorn, the emulator that pip installs: exact instruction counts, a third of a second an inference."""

from __future__ import annotations

from ...runtime.errors import InputError, require
from .build import Firmware
from .counts import Counts
from .hooks import BlockHook
from .machine import INSTRUCTION_LIMIT, CallResult, Machine, MachineError

_PAINT = b"\xa5"
_PAGE = 0x1000
#: So long a function's accesses are watched on a part that faults at unaligned ones, to the end of that call.
_WATCHED_INSTRUCTIONS = 20_000_000
_WORD_ARGUMENTS = {"arm": 4, "riscv": 8, "aarch64": 8}
#: Of a Linux program: memory for a stack, far from the program.
_AARCH64_STACK = (0x4000_0000, 256 * 1024)


class UnicornMachine(Machine):
    """One processor without peripherals. `python_hook` counts without a compiler, slowly."""

    def __init__(self, firmware: Firmware, *, python_hook: bool = False) -> None:
        super().__init__(firmware)
        require("unicorn", "emulate")
        import unicorn

        self._unicorn = unicorn
        self._architecture = firmware.target.architecture
        self._python = python_hook
        self._faulted = False
        self._arguments, self._sp, self._lr, self._pc = _registers(self._architecture)
        # unicorn's M0 does what the real one faults at; the accesses of every function are watched for a while.
        self._faults_unaligned = firmware.target.unicorn_cpu == "ARM_CORTEX_M0"
        self._watched: dict[str, int] = {}  # instructions by function
        self._open(self._faults_unaligned)
        if firmware.target.is_bare:
            self._start()

    def write(self, address: int, data: bytes) -> None:
        try:
            self._uc.mem_write(address, bytes(data))
        except self._unicorn.UcError as error:
            raise MachineError(
                f"no memory for {len(data)} bytes at {address:#x} ({error}): check the address"
            ) from error

    def read(self, address: int, n: int) -> bytes:
        try:
            return bytes(self._uc.mem_read(address, n))
        except self._unicorn.UcError as error:
            raise MachineError(f"no memory of {n} bytes at {address:#x} ({error}): check the address") from error

    def call(self, name: str, *arguments: int, limit: int = INSTRUCTION_LIMIT) -> CallResult:
        if self._faulted:
            raise MachineError(f"cannot call {name}: this machine faulted before, open a new one")
        if len(arguments) > 8:
            raise InputError(f"{name} called with {len(arguments)} arguments, expected at most 8")
        entry = self.symbol(name)
        # Where a function's accesses lie follows from its buffers, not from what is in them: its first calls tell.
        watched = self._watched.get(name, 0)
        self._watch(self._faults_unaligned and watched < _WATCHED_INSTRUCTIONS)
        low, high = self._stack
        self._uc.mem_write(low, _PAINT * (high - low))
        stack = high
        passed = _WORD_ARGUMENTS[self._architecture]
        for register, value in zip(self._arguments, arguments[:passed], strict=False):
            self._uc.reg_write(register, value & self._mask)
        if len(arguments) > passed:
            rest = arguments[passed:]
            stack -= (4 * len(rest) + 7) // 8 * 8
            self._uc.mem_write(stack, b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in rest))
        self._uc.reg_write(self._sp, stack)
        back = self.symbol("ts_idle") if self.firmware.target.is_bare else self.firmware.contents.code[1] - 4
        self._run(name, entry, back, limit)
        instructions, by_function, cycles = self._counts.summary()
        self._watched[name] = watched + instructions
        value = self._uc.reg_read(self._arguments[0]) & 0xFFFFFFFF
        painted = bytes(self._uc.mem_read(low, stack - low))
        used = len(painted.lstrip(_PAINT))
        return CallResult(value - (value >> 31 << 32), instructions, by_function, cycles, used)

    def close(self) -> None:
        # unicorn frees its memory with the object; the hook holds arrays that it writes to, so the machine goes first.
        if hasattr(self, "_uc"):
            del self._uc, self._hook

    @property
    def _mask(self) -> int:
        return (1 << (64 if self._architecture == "aarch64" else 32)) - 1

    def _open(self, watching: bool) -> None:
        """An empty machine with the firmware in its memory; `watching` its accesses."""
        unicorn, target = self._unicorn, self.firmware.target
        constants, number, mode = {
            "arm": (unicorn.arm_const, unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS),
            "riscv": (unicorn.riscv_const, unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32),
            "aarch64": (unicorn.arm64_const, unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM),
        }[self._architecture]
        self._uc = unicorn.Uc(number, mode)
        self._uc.ctl_set_cpu_model(getattr(constants, f"UC_CPU_{target.unicorn_cpu}"))
        self._map()
        self._counts = Counts(self.firmware)
        self._hook = BlockHook(self._uc, self._counts, aligned=watching, python=self._python)
        self._watching = watching
        if self._architecture == "aarch64":
            self._uc.reg_write(unicorn.arm64_const.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # its vector registers

    def _watch(self, wanted: bool) -> None:
        """Watch accesses from now on, or no more: what unicorn translated for the one is slow for the other, so in a
        machine of its own with the same memory."""
        memory = self.firmware.target.memory
        if wanted == self._watching or memory is None:
            return
        data = self.read(memory.ram, memory.ram_bytes)
        self._open(wanted)
        self.write(memory.ram, data)

    def _run(self, name: str, entry: int, back: int, limit: int) -> None:
        """Run from `entry` until it returns to `back`."""
        thumb = 1 if self._architecture == "arm" else 0
        self._uc.reg_write(self._lr, back | thumb)
        self._counts.begin(limit, entry)
        try:
            self._uc.emu_start(entry | thumb, back)
        except self._unicorn.UcError as error:
            self._faulted = True
            place = self.place(self._uc.reg_read(self._pc))
            raise MachineError(
                f"{name} faulted at {place} ({error}): check its buffers and its "
                f"{self._stack[1] - self._stack[0]} bytes of stack"
            ) from error
        at = self._uc.reg_read(self._pc)
        unaligned = self._hook.unaligned()
        if unaligned is not None:
            self._faulted = True
            raise MachineError(
                f"{name} faulted at {self.place(at)}: an access to {unaligned:#x}, which this processor has to have "
                "aligned, read bytes or align the data"
            )
        if self._counts.stopped or at & ~1 != back:
            self._faulted = True
            raise MachineError(f"{name} did not return within {limit} instructions, it was at {self.place(at)}")

    def _map(self) -> None:
        """Memory with the firmware in it."""
        memory = self.firmware.target.memory
        if memory is not None:
            self._uc.mem_map(memory.code, memory.code_bytes)
            self._uc.mem_map(memory.ram, memory.ram_bytes)
            if self._architecture == "arm":
                self._uc.mem_map(0xE000_E000, _PAGE)  # system control: plain memory is enough for the startup
            self._stack = (memory.ram, memory.ram + memory.stack_bytes)
            pieces = self.firmware.contents.segments
        else:
            base, size = _AARCH64_STACK
            self._uc.mem_map(base, size)
            self._stack = (base, base + size)
            pieces = self.firmware.contents.segments
            low = min(address for address, _ in pieces) // _PAGE * _PAGE
            high = max(symbol.address + symbol.size for symbol in self.firmware.symbols.values())
            self._uc.mem_map(low, (high - low + 2 * _PAGE) // _PAGE * _PAGE)
        for address, data in pieces:
            self._uc.mem_write(address, data)

    def _start(self) -> None:
        """Run the startup until it idles."""
        self._uc.reg_write(self._sp, self._stack[1])
        self._run("Reset", self.symbol("Reset"), self.symbol("ts_idle"), INSTRUCTION_LIMIT)


def _registers(architecture: str) -> tuple[list[int], int, int, int]:
    """unicorn's numbers of the argument registers, stack pointer, link register and program counter."""
    import unicorn

    if architecture == "arm":
        arm = unicorn.arm_const
        first = [getattr(arm, f"UC_ARM_REG_R{i}") for i in range(4)]
        return first, arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR, arm.UC_ARM_REG_PC
    if architecture == "riscv":
        riscv = unicorn.riscv_const
        first = [getattr(riscv, f"UC_RISCV_REG_A{i}") for i in range(8)]
        return first, riscv.UC_RISCV_REG_SP, riscv.UC_RISCV_REG_RA, riscv.UC_RISCV_REG_PC
    arm64 = unicorn.arm64_const
    first = [getattr(arm64, f"UC_ARM64_REG_X{i}") for i in range(8)]
    return first, arm64.UC_ARM64_REG_SP, arm64.UC_ARM64_REG_X30, arm64.UC_ARM64_REG_PC
