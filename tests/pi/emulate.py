"""The device-only install, part of the tests and a WAV demo, as a Raspberry Pi would run them, in user-mode emulation.

`python tests/pi/emulate.py arm64 armhf` (`make pi-test`) makes a Debian of that processor in a folder, without root's
package database and without running anything of it on this machine's kernel, installs the project's wheel there with
the processor's own pip, and runs it under QEMU. Instructions and libraries are the board's; the kernel, the audio
system, the clock and the heat are not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tests/runtime"))

from band_network import band_network, write_band_bundle  # noqa: E402

APT = "apt-get install -y --no-install-recommends qemu-user-static"

#: What every root needs; the wheels of sounddevice and soundfile bring no PortAudio and, on armhf, no libsndfile.
DEBIAN = ("python3-minimal", "python3-pip", "python3-distutils", "libportaudio2", "libatomic1")


@dataclass(frozen=True)
class Board:
    """One processor with the operating system of a Raspberry Pi."""

    title: str
    qemu: str
    # QEMU's newest model of a processor also claims SVE and SME, and computes XNNPACK's kernels for them wrongly
    # (7.2): the processor has to be the board's.
    cpu: str
    # XNNPACK asks /proc/cpuinfo what the processor can do, and crashes on this machine's: the board's is put there.
    features: str
    part: str
    debian: tuple[str, ...]
    wheels: tuple[str, ...]  # beside the project's own
    dependencies: bool  # whether pip resolves what the wheels need
    sample_rates_hz: tuple[int, ...]  # of the demo
    libraries: tuple[str, ...] = ()  # folders that Debian's maintainer scripts would have linked


BOARDS = {
    "arm64": Board(
        "Raspberry Pi 5, 64 bits",
        "qemu-aarch64-static",
        "cortex-a76",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        "0xd0b",
        DEBIAN,
        ("pytest", "hypothesis"),
        dependencies=True,
        sample_rates_hz=(32_000, 44_100),
    ),
    # No wheel of soxr is published for this processor, so its demo is at the front end's own rate; numpy and cffi are
    # Debian's.
    "armhf": Board(
        "Raspberry Pi OS, 32 bits, tflite-runtime",
        "qemu-arm-static",
        "cortex-a15",
        "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32",
        "0xc0f",
        (*DEBIAN, "python3-numpy", "python3-cffi", "libsndfile1"),
        ("tflite-runtime==2.14.0", "soundfile", "sounddevice", "rich", "markdown-it-py", "mdurl", "pygments",
         "websockets", "flatbuffers", "typing-extensions"),
        dependencies=False,
        sample_rates_hz=(32_000,),
        libraries=("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack"),
    ),
}  # fmt: skip


class Machine:
    """A folder with the board's Debian (`root`), what pip installed there (`site`) and a `python` that runs it."""

    def __init__(self, arch: str, build: Path) -> None:
        self.arch, self.board = arch, BOARDS[arch]
        self.root, self.site = build / arch / "root", build / arch / "site"
        self.python = build / arch / "python"

    def make_root(self) -> None:
        """Fetch and unpack the Debian packages, with a package database of the root's own."""
        state = self.root.parent / "apt"
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)
        self.root.mkdir(parents=True)
        for folder in ("lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True)
        (state / "status").touch()
        options = {
            "APT::Architecture": self.arch, "APT::Architectures": self.arch, "APT::Sandbox::User": "root",
            "Acquire::Languages": "none", "Debug::NoLocking": "1", "Dir::State": state, "Dir::State::lists":
            state / "lists", "Dir::State::status": state / "status", "Dir::Cache": state / "cache",
        }  # fmt: skip
        apt = ["apt-get", "-qq", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
        # A mirror whose security list is being renewed fails the update; the packages of the others do here.
        run([*apt, "update"], check=False)
        run([*apt, "-y", "--no-install-recommends", "--download-only", "install", *self.board.debian])
        for package in sorted((state / "cache/archives").glob("*.deb")):
            run(["dpkg-deb", "-x", str(package), str(self.root)])
        shutil.rmtree(state)
        self._write_cpuinfo()
        self._write_python()

    def install(self, wheel: Path) -> None:
        """Install the project's wheel and the tests' tools by the board's own pip."""
        shutil.rmtree(self.site, ignore_errors=True)
        self.site.mkdir(parents=True)
        pip = [str(self.python), "-m", "pip", "install", "-q", "--no-compile", "--only-binary", ":all:"]
        pip += ["--disable-pip-version-check", "--root-user-action", "ignore"]
        pip += [] if self.board.dependencies else ["--no-deps"]
        # pip reads its interpreter's ELF header to learn which wheels fit: it must see the real one, not our script.
        environment = {**os.environ, "PI_PYTHON": str(self.root / "usr/bin/python3")}
        run([*pip, "--target", str(self.site), str(wheel), *self.board.wheels], env=environment)
        (self.site / "sitecustomize.py").write_text("import os, sys\nsys.executable = os.environ['PI_PYTHON']\n")

    def _write_cpuinfo(self) -> None:
        lines = [
            f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {self.board.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: {8 if self.arch == 'arm64' else 7}\nCPU variant\t: 0x4\n"
            f"CPU part\t: {self.board.part}\nCPU revision\t: 1\n\n"
            for core in range(4)
        ]
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "proc/cpuinfo").write_text("".join(lines))

    def _write_python(self) -> None:
        """A script, because this kernel starts no foreign program: a test that starts `sys.executable` gets it too."""
        libraries = ":".join(str(self.root / folder) for folder in self.board.libraries)
        self.python.write_text(
            f'#!/bin/sh\nexport QEMU_CPU={self.board.cpu}\nexec {self.board.qemu} -E PYTHONPATH="{self.site}" '
            f'-E PI_PYTHON="${{PI_PYTHON:-{self.python}}}" -E LD_LIBRARY_PATH="{libraries}" '
            f'-L "{self.root}" "{self.root}/usr/bin/python3.11" "$@"\n'
        )
        self.python.chmod(0o755)


def run(command: list[str], check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `command` and return what it printed; with `check` a failure ends the program with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done  # type: ignore[no-any-return]


PROGRAM = "import sys; from tinyscene.runtime.cli import main; sys.exit(main())"


def demo(machine: Machine, bundle: Path, wav: Path) -> str:
    """`listen` on a WAV here and there: the same decisions, with the kernels that are fast and those that are exact."""
    said = {}
    for kernels in ("default", "reference"):
        arguments = ["listen", str(bundle), "--source", str(wav), "--kernels", kernels, "--json"]
        for where, python in (("here", sys.executable), ("there", str(machine.python))):
            done = run([python, "-c", PROGRAM, *arguments])
            records = [json.loads(line) for line in done.stdout.splitlines()]
            said[where] = [record for record in records if record["schema"].startswith("tinyscene.decision/")]
        assert said["here"], f"no decisions: {done.stderr}"
        same = [a["scene"] == b["scene"] and a["state"] == b["state"] for a, b in zip(said["here"], said["there"])]  # noqa: B905
        if len(said["here"]) != len(said["there"]) or not all(same):
            sys.exit(f"{machine.arch}, {kernels} kernels: the decisions differ from this machine's")
    furthest = max(
        abs(a["probabilities"][label] - b["probabilities"][label])
        for a, b in zip(said["here"], said["there"], strict=True)
        for label in a["probabilities"]
    )
    return f"{len(said['there'])} decisions as here, probabilities within {furthest:.1e} (exact kernels)"


def write_wav(path: Path, rate: int) -> Path:
    """Two seconds each of low, high and middle noise: what the tests' network tells apart."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(2 * rate))
    hertz = np.fft.rfftfreq(2 * rate, 1 / rate)
    parts = [np.fft.irfft(np.where((hertz > a) & (hertz < b), spectrum, 0)) for a, b in BANDS]
    soundfile.write(path, np.concatenate([0.3 * part / np.abs(part).max() for part in parts]), rate, subtype="PCM_16")
    return path


BANDS = ((50, 800), (7000, 15_000), (1500, 5000))


def main() -> None:
    """Build, install, test and listen for each architecture named; prints a line a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arch", nargs="+", choices=BOARDS)
    parser.add_argument("--build", type=Path, default=CHECKOUT / "build/pi", help="where the roots go")
    parser.add_argument("--tests", nargs="*", default=[], help="test files to run under emulation (arm64 only)")
    arguments = parser.parse_args()
    build: Path = arguments.build.resolve()
    build.mkdir(parents=True, exist_ok=True)
    bundle = write_band_bundle(build / "bundle", band_network()).path
    shutil.rmtree(build / "dist", ignore_errors=True)
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(build / "dist"), str(CHECKOUT)])
    (wheel,) = (build / "dist").glob("tinyscene-*.whl")
    for arch in arguments.arch:
        machine = Machine(arch, build)
        if shutil.which(machine.board.qemu) is None:
            sys.exit(f"no {machine.board.qemu}: run `{APT}`")
        print(f"{arch}: {machine.board.title}, {machine.board.cpu} emulated by {machine.board.qemu}", flush=True)

        def step(what: str, since: float) -> None:
            print(f"  {time.perf_counter() - since:6.1f} s  {what}", flush=True)

        start = time.perf_counter()
        machine.make_root()
        step(f"Debian root, {size_mb(machine.root):.0f} MB", start)
        start = time.perf_counter()
        machine.install(wheel)
        step(f"device-only install, {size_mb(machine.site):.0f} MB with the tests' tools", start)
        for rate in machine.board.sample_rates_hz:
            start = time.perf_counter()
            said = demo(machine, bundle, write_wav(build / f"demo-{rate}.wav", rate))
            step(f"listen to a WAV of {rate} Hz: {said}", start)
        if arguments.tests and machine.board.dependencies:
            start = time.perf_counter()
            done = run([str(machine.python), "-m", "pytest", "-p", "no:cacheprovider", *arguments.tests])
            step(f"tests: {done.stdout.strip().splitlines()[-1]}", start)


def size_mb(folder: Path) -> float:
    """What the files under `folder` take, in megabytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


if __name__ == "__main__":
    main()
