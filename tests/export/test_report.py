"""The report: a page that loads nothing and says what was measured, whatever names and figures it is given."""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyscene.export.card import write_card
from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.report.accuracy import mistakes
from tinyscene.export.report.cost import budget_view
from tinyscene.export.report.document import FILE, report_of, write_measurements
from tinyscene.export.report.page import render
from tinyscene.export.report.plots import Scale, confusion
from tinyscene.export.report.summary import limits, percent, points, summarise
from tinyscene.runtime.bundle import load_bundle
from tinyscene.runtime.errors import InputError

Program = Callable[..., int]

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Elements, attributes and texts of a page; fails where tags are not closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def report(bundle: Path) -> dict[str, Any]:
    """The report on the fine-tuned student, as its export stored it."""
    return report_of(load_bundle(bundle))


def changed(report: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {**copy.deepcopy(report), **sections}


def test_an_export_stores_what_it_measured(report: dict[str, Any], bundle: Path) -> None:
    graph = read_tflite((bundle / "model.tflite").read_bytes())
    assert [layer["name"] for layer in report["layers"]] == [op.name for op in graph.ops]
    assert sum(layer["macs"] for layer in report["layers"]) == report["sizes"]["artefact_macs"]
    assert max(layer["live_bytes"] for layer in report["layers"]) == report["sizes"]["peak_activation_bytes"]
    assert {check["passed"] for check in report["verification"]} <= {True, None}
    assert report["waterfall"]["snippets"] == 12
    assert {entry["target"] for entry in report["lint"]} >= {"edgetpu", "tflite-micro", "cortex-m"}
    assert report["explanation"]["clips"] == 12
    loaded = load_bundle(bundle)
    assert loaded.metrics["accuracy"] == next(
        row["accuracy"] for row in report["waterfall"]["rows"] if row["name"] == report["waterfall"]["int8"]
    )
    assert json.loads((bundle / FILE).read_text())["waterfall"] == report["waterfall"]


def test_the_page_loads_nothing_and_its_links_lead_somewhere(report: dict[str, Any]) -> None:
    html = render(report)
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert not [name for _, attrs in page.elements for name in attrs if name in ("src", "srcset") or name[:2] == "on"]
    anchors = {attrs["href"] for tag, attrs in page.elements if tag == "a"}
    places = {f"#{attrs['id']}" for _, attrs in page.elements if "id" in attrs}
    assert anchors <= places
    policy = next(attrs for tag, attrs in page.elements if tag == "meta" and "http-equiv" in attrs)
    assert str(policy["content"]).startswith("default-src 'none'")


def test_the_page_says_what_was_measured(report: dict[str, Any]) -> None:
    page = Page(render(report))
    for row in report["waterfall"]["rows"]:
        assert row["name"] in page.text
        assert f"{100 * row['accuracy']:.1f} %" in page.text
    for check in report["verification"]:
        assert check["name"] in page.text
    for layer in report["layers"]:
        assert layer["name"] in page.text
    for entry in report["lint"]:
        assert entry["title"] in page.text
    assert f"{report['sizes']['artefact_parameters']:,}" in page.text


HOSTILE = '</title><script>alert("1")</script><img src=x onerror=alert(2)>'


def test_names_cannot_become_markup(report: dict[str, Any]) -> None:
    hostile = copy.deepcopy(report)
    old = hostile["waterfall"]["labels"][0]
    text = json.dumps(hostile).replace(json.dumps(old), json.dumps(HOSTILE))
    hostile = json.loads(text)
    hostile["bundle"]["name"] = hostile["waterfall"]["rows"][0]["name"] = HOSTILE
    hostile["verification"][0]["detail"] = hostile["layers"][0]["name"] = HOSTILE
    hostile["bundle"]["provenance"]["run"] = hostile["explanation"]["advice"][0]["finding"] = HOSTILE
    page = Page(render(hostile))
    assert not {tag for tag, _ in page.elements} & {"script", "img"}
    assert page.text.count("<script>") >= 6
    assert "<script>" not in write_card(report)


def test_without_measurements_it_says_how_to_measure(report: dict[str, Any]) -> None:
    bare = changed(report, waterfall=None, explanation=None, lint=None, verification=None, machine=None)
    page = Page(render(bare))
    assert "No accuracy was measured: tinyscene report BUNDLE --data DIR" in page.text
    assert "#confusions" not in {attrs.get("href") for _, attrs in page.elements}
    assert "Not measured" in write_card(bare)
    assert [sentence.tone for sentence in summarise(bare)] == ["good"]


def test_what_failed_is_marked(report: dict[str, Any]) -> None:
    broken = changed(report)
    broken["verification"][1]["passed"] = False
    broken["budget"]["max_parameters"] = 100
    op = broken["lint"][0]["ops"][3]
    op |= {"status": "refused", "rule": "kernels of 99 taps", "fix": "fewer taps"}
    broken["lint"][0] |= {"whole": False, "mac_share": 0.0}
    bad = [sentence.text for sentence in summarise(broken) if sentence.tone == "bad"]
    assert any("breaks the default budget" in text for text in bad)
    assert any(broken["verification"][1]["name"] in text for text in bad)
    page = Page(render(broken))
    assert "kernels of 99 taps" in page.text
    assert "fewer taps" in page.text
    assert "1 failed" in page.text
    card = write_card(broken)
    assert "checks failed" in card


def test_a_broken_budget_shows_by_how_much(report: dict[str, Any]) -> None:
    trained = report["sizes"]["parameters"]
    broken = changed(report, budget={"preset": "half", "max_parameters": trained // 2, "max_macs": None})
    parameters, macs = budget_view(broken)
    assert 'class="weak"' in parameters["strip"]
    assert 'x1="50.00%"' in parameters["strip"]  # the limit lies half way along the bar
    assert macs["limit"] == "–"


def test_figures_read_as_they_should() -> None:
    assert (percent(0.98765), percent(None), percent(1.0, 0)) == ("98.8 %", "–", "100 %")
    assert (points(-0.0049), points(0.0), points(-0.00001, 2), points(0.021)) == ("−0.5", "0.0", "0.00", "+2.1")
    assert limits((0.5, 0.75)) == "50.0 … 75.0"
    assert limits((-0.01, 0.02), signed=True) == "−1.0 … +2.0"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.61, 0.84], [0.6, 0.7, 0.8, 0.9]),
        ([-0.008, 0.008], [-0.01, -0.005, 0.0, 0.005, 0.01]),
        ([0.5, 0.5], [0.45, 0.475, 0.5, 0.525, 0.55]),
    ],
)
def test_axes_have_round_ticks_around_their_values(values: list[float], ticks: list[float]) -> None:
    scale = Scale(values)
    assert scale.ticks == pytest.approx(ticks)
    assert scale.low <= min(values) <= max(values) <= scale.high
    assert (scale.share(scale.low), scale.share(scale.high)) == (0.0, 1.0)


def test_confusions_are_counted_by_row() -> None:
    labels, matrix = ["bus", "park", "tram", "unheard"], [[3, 0, 1, 0], [0, 5, 0, 0], [6, 0, 2, 0], [0, 0, 0, 0]]
    svg = Page(str(confusion(matrix, labels, "confusions")))
    assert "tram heard as bus: 6 of 8 (75 %)" in svg.text
    assert "bus heard as bus: 3 of 4 (75 %)" in svg.text
    assert "unheard" not in svg.text
    waterfall = {"labels": labels, "confusion": {"int8": matrix}}
    assert mistakes(waterfall) == ["tram heard as bus (6 of 8)", "bus heard as tram (1 of 4)"]


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in [(*path, key), *nodes(item, (*path, key))]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_report_is_refused_or_drawn(report: dict[str, Any], data: st.DataObject) -> None:
    damaged = copy.deepcopy(report)
    section = data.draw(st.sampled_from(["waterfall", "explanation", "lint", "verification", "machine"]))
    *path, last = data.draw(st.sampled_from(nodes(damaged[section])))
    parent = damaged[section]
    for key in path:
        parent = parent[key]
    junk = st.sampled_from([None, True, -1, 1e308, 10**400, "x", "", [], {}, [[1]], {"a": [None]}])
    if data.draw(st.booleans()):
        parent[last] = data.draw(junk)
    else:
        del parent[last]
    with contextlib.suppress(InputError):
        Page(render(damaged))


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"schema": "other/1"}', b"[" * 100_000, b"\xff\xfe", b"12"])
def test_a_stored_report_of_another_form_is_refused(text: bytes) -> None:
    from tinyscene.export.report.document import read_measurements

    with pytest.raises(InputError, match="measure anew"):
        read_measurements(text, "report.json")


def test_measurements_survive_their_file(report: dict[str, Any]) -> None:
    from tinyscene.export.report.document import MEASURED, read_measurements

    assert read_measurements(write_measurements(report), "report.json") == {key: report[key] for key in MEASURED}


def test_the_card_says_what_the_report_says(report: dict[str, Any], bundle: Path) -> None:
    card = (bundle / "README.md").read_text()
    assert card == write_card(report)
    for sentence in summarise(report):
        assert sentence.text in card


def test_the_verb_writes_the_page_at_once(
    bundle: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "pages" / "report.html"
    assert tinyscene("report", bundle, "--out", page, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "tinyscene.report/1"
    assert record["page"] == str(page)
    assert record["waterfall"]["schema"] == "tinyscene.waterfall/1"
    assert page.read_text() == render({key: value for key, value in record.items() if key != "page"})


def test_the_page_needs_no_torch(bundle: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from tinyscene.runtime.cli import main\n"
        f"sys.exit(main(['report', {str(bundle)!r}, '--out', {str(tmp_path / 'page.html')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "keeps the default budget" in done.stdout


def test_measuring_anew_gives_what_the_export_stored(
    bundle: Path, student: Path, corpus: Path, tmp_path: Path, tinyscene: Program, report: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    page = tmp_path / "anew.html"
    assert tinyscene("report", bundle, "--data", corpus, "--teacher", student, "--out", page, "--json") == 0
    anew = json.loads(capsys.readouterr().out)
    stored = {row["name"]: row["accuracy"] for row in report["waterfall"]["rows"]}
    found = {row["name"]: row["accuracy"] for row in anew["waterfall"]["rows"]}
    shared = set(stored) & set(found)
    assert "int8, LiteRT reference" in shared
    assert {name: found[name] for name in shared} == {name: stored[name] for name in shared}
    assert set(found) - set(stored) == {"teacher cpm (student)"}
    assert anew["explanation"]["tensors"] == report["explanation"]["tensors"]
    assert "teacher cpm (student)" in Page(page.read_text()).text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--teacher", "runs/teacher"], "add --data DIR"),
        (["--out", "BUNDLE/report.html"], "expected a file beside it"),
    ],
)
def test_wrong_requests_are_refused(
    bundle: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    options = [option.replace("BUNDLE", str(bundle)) for option in options]
    assert tinyscene("report", bundle, *options) == 2
    assert message in capsys.readouterr().err
