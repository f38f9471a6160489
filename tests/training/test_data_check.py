"""Every fault that `data check` knows, planted one at a time in a corpus that is otherwise in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyscene.runtime.cli import main
from tinyscene.training.data.check import check

SCENES = ("bus", "metro_station", "park")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scenes of four locations with three clips each; the last location of a scene is evaluated."""
    rng = np.random.default_rng(0)
    root = tmp_path / "corpus"
    (root / "audio").mkdir(parents=True)
    (root / "evaluation_setup").mkdir()
    meta, sides = ["filename\tscene_label\tidentifier\tsource_label"], {"train": [], "evaluate": []}
    for number, (scene, location) in enumerate((scene, location) for scene in SCENES for location in range(4)):
        for segment in range(3):
            name = f"audio/{scene}-paris-{number}-{segment}-a.wav"
            soundfile.write(root / name, 0.05 * rng.standard_normal(32_000), 32_000)
            meta.append(f"{name}\t{scene}\tparis-{number}\ta")
            sides["evaluate" if location == 3 else "train"].append(f"{name}\t{scene}")
    (root / "meta.csv").write_text("\n".join(meta) + "\n")
    for side, rows in sides.items():
        path = root / "evaluation_setup" / f"fold1_{side}.csv"
        path.write_text("\n".join(["filename\tscene_label", *rows]) + "\n")
    return root


CLIP = "audio/bus-paris-0-0-a.wav"  # a training clip
HELD_OUT = "audio/bus-paris-3-0-a.wav"  # an evaluation clip


def replace(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text()
    assert text.count(old) >= count
    path.write_text(text.replace(old, new, count))


def no_fault(root: Path) -> None:
    pass


def missing(root: Path) -> None:
    (root / CLIP).unlink()


def not_audio(root: Path) -> None:
    (root / CLIP).write_bytes(b"<html>404</html>" * 100)


def cut_off(root: Path) -> None:
    (root / CLIP).write_bytes((root / CLIP).read_bytes()[:30_000])


def short(root: Path) -> None:
    soundfile.write(root / CLIP, 0.1 * np.random.default_rng(1).standard_normal(31_000), 32_000)


def silent(root: Path) -> None:
    soundfile.write(root / CLIP, np.full(32_000, 0.2), 32_000)  # a constant is no sound


def two_silent(root: Path) -> None:
    for name in (CLIP, HELD_OUT):
        soundfile.write(root / name, np.zeros(32_000), 32_000)


def clipped(root: Path) -> None:
    soundfile.write(root / CLIP, np.clip(np.random.default_rng(1).standard_normal(32_000), -1, 1), 32_000)


def touches_full_scale(root: Path) -> None:
    soundfile.write(root / CLIP, np.sin(2 * np.pi * 4000 * np.arange(32_000) / 32_000), 32_000)


def narrow(root: Path) -> None:
    soundfile.write(root / CLIP, 0.1 * np.random.default_rng(1).standard_normal(16_000), 16_000)


def misspelt(root: Path) -> None:
    for path in (root / "meta.csv", root / "evaluation_setup" / "fold1_train.csv"):
        replace(
            path,
            "audio/metro_station-paris-4-0-a.wav\tmetro_station",
            "audio/metro_station-paris-4-0-a.wav\tMetro-Station",
        )


def wrong_scene(root: Path) -> None:
    for path in (root / "meta.csv", root / "evaluation_setup" / "fold1_train.csv"):
        replace(path, f"{CLIP}\tbus", f"{CLIP}\tpark")


def lists_disagree(root: Path) -> None:
    replace(root / "evaluation_setup" / "fold1_train.csv", f"{CLIP}\tbus", f"{CLIP}\tpark")


def not_in_meta(root: Path) -> None:
    replace(root / "meta.csv", f"{CLIP}\tbus\tparis-0\ta\n", "")


def listed_twice(root: Path) -> None:
    with (root / "meta.csv").open("a") as handle:
        handle.write(f"{CLIP}\tbus\tparis-0\ta\n")


def contradiction(root: Path) -> None:
    with (root / "meta.csv").open("a") as handle:
        handle.write(f"{CLIP}\tpark\tparis-0\ta\n")


def unlisted(root: Path) -> None:
    (root / "audio" / "new.flac").touch()


def list_missing(root: Path) -> None:
    (root / "evaluation_setup" / "fold1_evaluate.csv").unlink()


def leak(root: Path) -> None:
    replace(root / "evaluation_setup" / "fold1_train.csv", f"{CLIP}\tbus\n", "")
    with (root / "evaluation_setup" / "fold1_evaluate.csv").open("a") as handle:
        handle.write(f"{CLIP}\tbus\n")


def leak_of_split(root: Path) -> None:
    (root / "evaluation_setup" / "split5.csv").write_text(f"filename\tscene_label\n{HELD_OUT}\tbus\n")


def unlearnt_scene(root: Path) -> None:
    path = root / "evaluation_setup" / "fold1_train.csv"
    path.write_text("".join(line for line in path.open() if "\tpark" not in line))


def copy_across(root: Path) -> None:
    wave, rate = soundfile.read(root / HELD_OUT, dtype="int16")
    soundfile.write(root / CLIP, wave, rate, subtype="PCM_24")  # other bytes, the same sound


def copy_beside(root: Path) -> None:
    (root / "audio/bus-paris-1-0-a.wav").write_bytes((root / CLIP).read_bytes())


def copy_of_other_scene(root: Path) -> None:
    (root / "audio/park-paris-8-0-a.wav").write_bytes((root / CLIP).read_bytes())


Found = set[tuple[str, str, str]]


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (no_fault, set()),
        (touches_full_scale, set()),
        (missing, {("missing", "error", CLIP)}),
        (not_audio, {("unreadable", "error", CLIP)}),
        (cut_off, {("unreadable", "error", CLIP)}),
        (short, {("too short", "error", CLIP)}),
        (silent, {("silent", "warning", CLIP)}),
        # Two silent files are alike, but that is not what is wrong with them.
        (two_silent, {("silent", "warning", CLIP), ("silent", "warning", HELD_OUT)}),
        (clipped, {("clipped", "warning", CLIP)}),
        (narrow, {("narrow band", "warning", CLIP)}),
        (
            misspelt,
            {
                ("label typo", "error", "Metro-Station"),
                ("label differs", "error", "audio/metro_station-paris-4-0-a.wav"),
                ("scene on one side", "warning", "Metro-Station"),
            },
        ),
        (wrong_scene, {("label differs", "error", CLIP)}),
        (lists_disagree, {("label differs", "error", CLIP)}),
        (not_in_meta, {("not in meta.csv", "error", CLIP), ("unlisted", "warning", CLIP)}),
        (listed_twice, {("listed twice", "warning", CLIP)}),
        (contradiction, {("contradiction", "error", CLIP)}),
        (unlisted, {("unlisted", "warning", "audio/new.flac")}),
        (
            list_missing,
            {("list missing", "error", "fold1_evaluate.csv"), *(("scene on one side", "warning", s) for s in SCENES)},
        ),
        (leak, {("leakage", "error", "paris-0")}),
        (leak_of_split, {("leakage", "error", "paris-3")}),
        (unlearnt_scene, {("scene on one side", "error", "park")}),
        (copy_across, {("duplicate", "error", HELD_OUT)}),
        (copy_beside, {("duplicate", "warning", "audio/bus-paris-1-0-a.wav")}),
        (copy_of_other_scene, {("duplicate", "error", "audio/park-paris-8-0-a.wav")}),
    ],
)
def test_a_planted_fault_is_found_and_nothing_else(
    plant: Callable[[Path], None], expected: Found, folder: Path
) -> None:
    plant(folder)
    findings = check(folder).findings
    assert {(finding.kind, finding.severity, finding.where) for finding in findings} == expected
    assert len(findings) == len(expected)
    assert all(finding.fix and finding.message for finding in findings)


def test_typos_are_told_from_related_and_from_equally_frequent_names(tmp_path: Path) -> None:
    rows = ["metro"] * 40 + ["metro_station"] * 40 + ["street_traffic"] * 20 + ["office_1"] * 20 + ["office_2"] * 20
    rows += ["street_trafic"]
    lines = [f"{i}.wav\t{scene}\t{i}" for i, scene in enumerate(rows)]
    (tmp_path / "meta.csv").write_text("\n".join(["filename\tscene_label\tidentifier", *lines]) + "\n")
    typos = [finding.where for finding in check(tmp_path).findings if finding.kind == "label typo"]
    assert typos == ["street_trafic"]


def test_only_the_named_fold_is_searched_for_leakage(folder: Path) -> None:
    setup = folder / "evaluation_setup"
    for side in ("train", "evaluate"):
        (setup / f"fold2_{side}.csv").write_text((setup / f"fold1_{side}.csv").read_text())
    with (setup / "fold2_train.csv").open("a") as handle:
        handle.write(f"{HELD_OUT}\tbus\n")
    assert not check(folder, 1).findings
    assert [finding.kind for finding in check(folder, 2).findings] == ["leakage"]


def test_exit_code_and_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(folder)]) == 0
    assert "36 files, 0.6 min, 12 recordings, 3 scenes, 1 folds: nothing wrong" in capsys.readouterr().out
    silent(folder)
    assert main(["data", "check", str(folder)]) == 0
    assert f"warning: silent: {CLIP} is silent" in capsys.readouterr().out
    missing(folder)
    assert main(["data", "check", str(folder), "--json"]) == 1
    finding, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert finding["schema"] == "tinyscene.finding/1"
    assert (finding["kind"], finding["severity"], finding["where"]) == ("missing", "error", CLIP)
    assert (summary["schema"], summary["errors"], summary["warnings"]) == ("tinyscene.check/1", 1, 0)


def test_wrong_use_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(folder / "absent")]) == 2
    assert main(["data", "check", str(folder), "--fold", "7"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "no folder" in lines[0]
    assert "has no fold 7, expected one of 1" in lines[1]
    assert len(lines) == 2


def test_real_recordings_are_in_order(shared: Path) -> None:
    report = check(shared / "data" / "tut2017")
    assert report.findings == ()
    assert report.seconds == pytest.approx(4380, abs=1)
