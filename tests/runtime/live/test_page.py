"""The page in a real browser, shown what a test says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import APT, Tab, find_chromium, open_tab
from numpy.typing import NDArray

from tinyscene.runtime.live.gate import make_gate
from tinyscene.runtime.live.palette import loudness_map, scene_colours
from tinyscene.runtime.live.server import PageServer

LABELS = ["park", "street_traffic", "<img src=x onerror=alert(1)>"]
VITALS: dict[str, Any] = {
    "latency_p50_ms": 1.25, "latency_p90_ms": 2.0, "latency_p99_ms": 3.0, "latency_max_ms": 4.0, "deadline_misses": 0,
    "load_percent": 2.5, "memory_mib": 60.0, "audio_s": 5.0, "dropped_samples": 0, "dropped_s": 0.0,
    "temperature_c": None, "frequency_mhz": None, "governor": None, "throttled": [],
}  # fmt: skip


class Script:
    """A feed that says what a test sets."""

    def __init__(self) -> None:
        self.settings = {"enter": 0.6, "leave": 0.2, "smoothing_s": 3.0}
        self.state: dict[str, Any] = {"now_s": 5.0, "decision": None, "probabilities": [], "held_s": 0.0, "down": None}
        self.state |= {"ended": False, "vitals": VITALS}
        self.events: list[dict[str, Any]] = []
        self.stretches: list[tuple[float, int]] = []
        self.level = 0
        self.asked: list[str] = []
        self.refusal: str | None = None

    def hello(self) -> dict[str, Any]:
        colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in loudness_map()]
        about = {"type": "hello", "bundle": "scenes", "source": "a test", "engine": "none", "hop_s": 0.25}
        scenes = {"labels": LABELS, "colours": scene_colours(len(LABELS)), "window_s": 600}
        picture = {"palette": colours, "bands": 8, "columns_per_s": 10.0, "ticks": [[500, 0.3], [5000, 0.8]]}
        return {**about, **scenes, **picture, "settings": self.settings, "stretches": [], "events": []}

    def tick(self) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        events, self.events = self.events, []
        stretches, self.stretches = self.stretches, []
        update = {"type": "update", **self.state, "events": events, "stretches": stretches}
        column = np.zeros((1, 8), np.uint8)
        column[0, 1] = self.level
        return update, column

    def take(self, message: str | bytes) -> dict[str, Any]:
        import json

        self.asked.append(str(message))
        if self.refusal is not None:
            return {"type": "refused", "message": self.refusal}
        self.settings = {name: value for name, value in json.loads(message).items() if name != "type"}
        return {"type": "settings", **self.settings}

    def decide(self, scene: int | None, probabilities: list[float]) -> None:
        top = LABELS[int(np.argmax(probabilities))]
        name = None if scene is None else LABELS[scene]
        decision = {"t_s": 5.0, "scene": name, "top": top, "state": "held", "probability": max(probabilities)}
        decision |= {"level_dbfs": -30.0, "lost_share": 0.0, "latency_ms": 1.0}
        self.state |= {"decision": decision, "probabilities": probabilities, "held_s": 75.0}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = find_chromium()
    if program is None:
        pytest.skip(f"no Chromium to show the page in: run `{APT}`")
    with open_tab(program, tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def script(tab: Tab) -> Iterator[Script]:
    """A page that is open and connected, and complains about nothing until the test is over."""
    script = Script()
    with shown(script, tab):
        yield script
        # Only tests read pixels back.
        assert [complaint for complaint in tab.complaints if "willReadFrequently" not in complaint] == []


@contextlib.contextmanager
def shown(script: Script, tab: Tab, port: int = 0) -> Iterator[PageServer]:
    server = PageServer(make_gate(None, {}), "127.0.0.1", port, script)
    try:
        tab.complaints.clear()
        tab.open(f"http://127.0.0.1:{server.port}/")
        tab.until("document.getElementById('link')?.dataset.state === 'live'")
        yield server
    finally:
        server.close()


def text(tab: Tab, name: str) -> str:
    return str(tab.value(f"document.getElementById('{name}').innerText"))


def shows(tab: Tab, name: str, wanted: str) -> None:
    tab.until(f"document.getElementById('{name}').innerText.includes({wanted!r})")


def test_scene_unsure_and_away(tab: Tab, script: Script) -> None:
    script.decide(1, [0.2, 0.7, 0.1])
    shows(tab, "scene", "street traffic")
    assert text(tab, "held") == "for 1 min 15 s, 70 %"
    assert "0.70" in text(tab, "bars")
    assert tab.value("document.querySelectorAll('#bars [data-decided=true]').length") == 1
    script.decide(None, [0.5, 0.3, 0.2])
    shows(tab, "scene", "unsure: park?")
    script.state["down"] = "the microphone was unplugged"
    shows(tab, "scene", "no audio")
    shows(tab, "held", "unplugged")


def test_labels_stay_text(tab: Tab, script: Script) -> None:
    script.decide(2, [0.1, 0.1, 0.8])
    data = {"scene": LABELS[2], "previous": None, "probability": 0.8}
    script.events.append({"kind": "scene", "t_s": 5.0, "at": "2026-11-24T07:00:00.000+00:00", "data": data})
    shows(tab, "scene", "<img src=x")
    shows(tab, "events", "<img src=x")
    assert tab.value("document.querySelectorAll('main img').length") == 0


def test_the_picture_has_the_palettes_colours_where_they_belong(tab: Tab, script: Script) -> None:
    def pixel(row: int) -> list[int]:
        of = "document.getElementById('spectrogram')"
        data = f"{of}.getContext('2d').getImageData({of}.width - 1, {row}, 1, 1).data"
        return list(tab.value(f"Array.from({data})"))

    script.level = 200
    wanted = loudness_map()[200].tolist()
    of = "document.getElementById('spectrogram')"
    tab.until(f"{of}.getContext('2d').getImageData({of}.width - 1, 6, 1, 1).data[0] === {wanted[0]}")
    assert pixel(6)[:3] == wanted  # the second band from below, of eight
    assert pixel(7)[:3] == loudness_map()[0].tolist()
    assert tab.value(f"{of}.height") == 8


def test_the_timeline_shows_scenes_where_they_were(tab: Tab, script: Script) -> None:
    script.state["now_s"] = 600.0
    script.stretches = [(0.0, 0), (300.0, 1)]
    of = "document.getElementById('timeline')"
    red = [int(colour[1:3], 16) for colour in scene_colours(len(LABELS))]

    def at(share: float) -> str:
        return f"{of}.getContext('2d').getImageData({share} * {of}.width, 4, 1, 1).data[0]"

    tab.until(f"{at(0.25)} === {red[0]} && {at(0.75)} === {red[1]}")
    tab.value(f"{of}.onpointermove({{offsetX: 0.25 * {of}.clientWidth}})")
    assert text(tab, "hover") == "park, 7 min 30 s ago"


def test_events_are_told_in_words_and_do_not_pile_up(tab: Tab, script: Script) -> None:
    lost = {"samples": 3200, "duration_s": 0.1, "cause": "overflow", "total_samples": 3200}
    event = {"kind": "audio_lost", "t_s": 5.0, "at": "2026-11-24T07:00:00.000+00:00", "data": lost}
    script.events = [event] * 5000
    shows(tab, "events", "lost 0.10 s of audio (overflow)")
    assert tab.value("document.querySelectorAll('#events li').length") == 60


def test_losses_and_throttling_stand_out(tab: Tab, script: Script) -> None:
    shows(tab, "meters", "not told")
    assert tab.value("document.querySelectorAll('#meters .bad').length") == 0
    script.state["vitals"] = VITALS | {
        "dropped_samples": 32_000, "dropped_s": 1.0, "throttled": ["under-voltage"], "temperature_c": 81.4
    }  # fmt: skip
    shows(tab, "meters", "1.00 s (32,000 samples)")
    assert "81 °C" in text(tab, "meters")
    assert tab.value("[...document.querySelectorAll('#meters .bad')].map((e) => e.innerText)") == [
        "1.00 s (32,000 samples)",
        "under-voltage",
    ]


def move(tab: Tab, name: str, value: float) -> None:
    tab.value(f"(() => {{ const e = document.getElementById('{name}'); e.value = {value}; e.oninput(); }})()")


def test_sliders_change_the_stream_and_follow_it(tab: Tab, script: Script) -> None:
    assert text(tab, "enter-text") == "0.60"
    move(tab, "leave", 0.7)  # takes the other threshold along
    shows(tab, "enter-text", "0.70")
    while not script.asked:
        tab.value("1")
    assert script.settings == {"enter": 0.7, "leave": 0.7, "smoothing_s": 3.0}
    tab.until("document.querySelector('.mark:last-child').style.left === '70%'")
    script.refusal = "not today"
    move(tab, "smoothing_s", 9)
    shows(tab, "refused", "not today")
    assert text(tab, "smoothing_s-text") == "3.00 s"


def test_it_comes_back_after_the_program_does(tab: Tab) -> None:
    script = Script()
    with shown(script, tab) as server:
        port = server.port
    tab.until("document.getElementById('link').dataset.state === 'lost'")
    assert "tinyscene ended" in text(tab, "link")
    assert tab.value("document.getElementById('enter').disabled")
    again = PageServer(make_gate(None, {}), "127.0.0.1", port, script)
    try:
        tab.until("document.getElementById('link').dataset.state === 'live'")
        assert not tab.value("document.getElementById('enter').disabled")
    finally:
        again.close()


@pytest.mark.parametrize(("width", "height", "mobile"), [(1280, 800, False), (390, 844, True), (320, 640, True)])
def test_nothing_is_cut_off_at_the_side(tab: Tab, script: Script, width: int, height: int, mobile: bool) -> None:
    tab.resize(width, height, mobile=mobile)
    script.decide(1, [0.2, 0.7, 0.1])
    shows(tab, "scene", "street traffic")
    assert tab.value("document.documentElement.scrollWidth") <= width


def test_a_page_of_another_origin_hears_nothing(tab: Tab, tmp_path: Path) -> None:
    server = PageServer(make_gate(None, {}), "127.0.0.1", 0, Script())
    try:
        foreign = tmp_path / "foreign.html"
        foreign.write_text(
            f"<script>const s = new WebSocket('ws://127.0.0.1:{server.port}/live');"
            "s.onmessage = () => (window.heard = true); s.onclose = () => (window.closed_ = true);</script>"
        )
        tab.open(foreign.as_uri())
        tab.until("window.closed_ === true")
        assert tab.value("window.heard === undefined")
    finally:
        server.close()
