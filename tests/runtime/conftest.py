"""A tiny but whole bundle, and a microphone that hears what a test plays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from band_network import band_network, write_band_bundle
from processes import APT, VirtualMicrophone

from tinyscene.runtime.bundle import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that hears whether a sound is low, middle or high."""
    return write_band_bundle(tmp_path_factory.mktemp("bundle") / "bands", band_network())


@pytest.fixture
def virtual_microphone(tmp_path: Path) -> Iterator[VirtualMicrophone]:
    """A running virtual microphone of 48 kHz, mono, whose samples arrive bit for bit."""
    if not all(map(shutil.which, ("pulseaudio", "pactl", "paplay"))):
        pytest.skip(f"no PulseAudio to make a microphone of: run `{APT}`")
    # The socket's path has to stay under 108 bytes, which pytest's own folders do not promise.
    folder = Path(f"/tmp/tinyscene-{os.getpid()}-{tmp_path.name[-12:]}")
    folder.mkdir(mode=0o700)
    alsa = folder / "asound.conf"
    alsa.write_text(
        "</usr/share/alsa/alsa.conf>\n"
        'pcm.vmic { type pulse device "vmic.monitor" hint { show on description "vmic" } }\n'
    )
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"} | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_STATE_HOME": str(folder),
        "PULSE_RUNTIME_PATH": str(folder),
        "PULSE_SERVER": f"unix:{folder}/native",
        "ALSA_CONFIG_PATH": str(alsa),
    }
    microphone = VirtualMicrophone(environment, folder)
    try:
        microphone.start()
        yield microphone
    finally:
        microphone.kill()
        shutil.rmtree(folder, ignore_errors=True)
