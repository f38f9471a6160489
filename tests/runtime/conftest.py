"""A tiny but whole bundle, and a microphone that plays what a test wants it to hear."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.runtime.bundle import Bundle, Quantization, write_bundle
from tinyscene.runtime.frontend_spec import STUDENT, FrontendSpec

LABELS = ("low", "middle", "high")


@dataclass(frozen=True, eq=False)
class BandNetwork:
    """The smallest int8 network with a known answer: one logit for each third of the mel bands, its mean level.

    One convolution as large as the window, so logits = scale * (sum of weight * (q - zero_point)) exactly.
    """

    weight: NDArray[np.int8]  # (3, n_mels, n_frames, 1)
    input_scale: float = float(np.float32(0.02))
    input_zero_point: int = 10
    weight_scale: float = float(np.float32(1e-3))
    output_scale: float = float(np.float32(0.25))
    output_zero_point: int = -20

    def expected_logits(self, inputs: NDArray[np.int8]) -> NDArray[np.float64]:
        """Exact real logits (3,) before the output is rounded and clipped to int8."""
        centred = inputs.astype(np.int64) - self.input_zero_point
        sums = np.tensordot(self.weight.astype(np.int64)[..., 0], centred[0, :, :, 0], 2)
        return sums * self.input_scale * self.weight_scale

    def tflite(self) -> bytes:
        """The network as a .tflite file."""
        graph = pytest.importorskip(
            "tinyscene.export.graph", reason="needs the export extra: pip install 'tinyscene[export]'"
        )
        writer = pytest.importorskip(
            "tinyscene.export.tflite_writer", reason="needs the export extra: pip install 'tinyscene[export]'"
        )
        out = graph.Quant(self.output_scale, self.output_zero_point)
        _, n_mels, n_frames, _ = self.weight.shape
        return writer.write_tflite(
            graph.Graph(
                name="bands",
                tensors=(
                    graph.Tensor(
                        "log_mel", (1, n_mels, n_frames, 1), graph.Quant(self.input_scale, self.input_zero_point)
                    ),
                    graph.Tensor("bands", (1, 1, 1, 3), out),
                    graph.Tensor("logits", (1, 3), out),
                ),
                ops=(
                    graph.Op(
                        "CONV_2D",
                        ("log_mel",),
                        "bands",
                        weight=self.weight,
                        bias=np.zeros(3, np.int32),
                        weight_scales=np.full(3, self.weight_scale, np.float32),
                    ),
                    graph.Op("MEAN", ("bands",), "logits", axes=(1, 2), keep_dims=False),
                ),
                input="log_mel",
                output="logits",
            )
        )


def band_network(spec: FrontendSpec = STUDENT) -> BandNetwork:
    """The network for `spec`: a band's weights are +2 in its third and -1 in the two others."""
    weight = np.full((3, spec.n_mels, spec.n_frames(), 1), -1, np.int8)
    for band, rows in enumerate(np.array_split(np.arange(spec.n_mels), 3)):
        weight[band, rows] = 2
    return BandNetwork(weight)


def write_band_bundle(path: Path, network: BandNetwork, spec: FrontendSpec = STUDENT, **quantization: float) -> Bundle:
    """`network` as a bundle at `path`; `quantization` replaces values of the manifest, to make it lie."""
    values = {
        "input_scale": network.input_scale,
        "input_zero_point": network.input_zero_point,
        "output_scale": network.output_scale,
        "output_zero_point": network.output_zero_point,
        **quantization,
    }
    return write_bundle(
        path,
        name="bands",
        labels=LABELS,
        frontend=spec,
        quantization=Quantization(**values, method="ptq"),
        model={},
        budget={},
        metrics={},
        provenance={},
        files={"model.tflite": network.tflite()},
    )


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that hears whether a sound is low, middle or high."""
    return write_band_bundle(tmp_path_factory.mktemp("bundle") / "bands", band_network())


APT = "apt-get install -y --no-install-recommends libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins"


@dataclass(frozen=True)
class VirtualMicrophone:
    """A PulseAudio server of one's own whose one microphone hears what is played to it."""

    environment: dict[str, str]
    server: subprocess.Popen[bytes]
    name: str = "vmic"
    sample_rate_hz: int = 48_000

    def play(self, wav: Path) -> subprocess.Popen[bytes]:
        """Start to play `wav` into the microphone."""
        return subprocess.Popen(["paplay", "-d", self.name, str(wav)], env=self.environment)

    def pactl(self, *arguments: str) -> str:
        """Run `pactl` against the server and return what it says."""
        done = subprocess.run(["pactl", *arguments], env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout


@pytest.fixture
def virtual_microphone(tmp_path: Path) -> Iterator[VirtualMicrophone]:
    """A running virtual microphone of 48 kHz, mono, whose samples arrive bit for bit."""
    if not all(map(shutil.which, ("pulseaudio", "pactl", "paplay"))):
        pytest.skip(f"no PulseAudio to make a microphone of: run `{APT}`")
    # The socket's path has to stay under 108 bytes, which pytest's own folders do not promise.
    folder = Path(f"/tmp/tinyscene-{os.getpid()}-{tmp_path.name[-12:]}")
    folder.mkdir(mode=0o700)
    script, alsa = folder / "pulse.pa", folder / "asound.conf"
    script.write_text(
        f"load-module module-native-protocol-unix socket={folder}/native auth-anonymous=1\n"
        # norewinds: with rewinding the monitor lags by more than a second and loses onsets
        "load-module module-null-sink sink_name=vmic rate=48000 channels=1 format=s16le norewinds=1\n"
    )
    alsa.write_text(
        "</usr/share/alsa/alsa.conf>\n"
        'pcm.vmic { type pulse device "vmic.monitor" hint { show on description "vmic" } }\n'
    )
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"} | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_RUNTIME_PATH": str(folder),
        "PULSE_SERVER": f"unix:{folder}/native",
        "ALSA_CONFIG_PATH": str(alsa),
    }
    options = [
        "-n",
        "--daemonize=no",
        "--exit-idle-time=-1",
        "--disable-shm=yes",
        "--use-pid-file=no",
        "--log-target=stderr",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["pulseaudio", *options, "-F", str(script)], env=environment, stderr=log)
    microphone = VirtualMicrophone(environment, server)
    try:
        poll_until(lambda: subprocess.run(["pactl", "info"], env=environment, capture_output=True).returncode == 0)
        yield microphone
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def poll_until(ready: object, limit_s: float = 10.0) -> None:
    """Wait until `ready()` is true; a server's socket gives no other sign."""
    assert callable(ready)
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, "the server did not come up"
        time.sleep(0.01)


def json_lines(text: str) -> list[dict[str, object]]:
    """Every line of `text` as the JSON object it must be."""
    return [json.loads(line) for line in text.splitlines()]
