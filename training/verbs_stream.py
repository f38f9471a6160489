"""What `evaluate --stream` does. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.errors import InputError, require
from ..runtime.output import Output, format_table

if TYPE_CHECKING:
    from ..runtime.bundle import Bundle
    from .data.corpus import Corpus
    from .stream_evaluation import Setting, Trade
    from .stream_plan import StreamPlan

#: Of the JSON line that it prints.
SCHEMA = "tinyscene.stream_evaluation/1"


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stream."""
    stream = parser.add_argument_group("stream", "one bundle on held-out recordings joined into a stream")
    stream.add_argument(
        "--stream", action="store_true", help="flicker, time to recognise, share unsure and right, and their trade"
    )
    stream.add_argument("--stream-minutes", type=float, default=40.0, metavar="M", help="length of the stream")
    stream.add_argument("--stream-seed", type=int, default=0, metavar="N", help="which stream")
    stream.add_argument("--plot", type=Path, metavar="PNG", help="draw how the smoothing trades them")


def check_stream_arguments(arguments: argparse.Namespace) -> None:
    """Raise `InputError` for options that do not go together."""
    if not arguments.stream:
        if arguments.plot is not None:
            raise InputError("--plot draws streams: add --stream")
        return
    if len(arguments.models) != 1:
        raise InputError(f"--stream listens with one bundle, got {len(arguments.models)} models: give one at a time")
    for name in ("unseen", "like", "ensemble", "split"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} does not go with --stream: leave it out")
    if arguments.stream_seed < 0:
        raise InputError(f"--stream-seed is {arguments.stream_seed}, expected at least 0")


def evaluate_stream(arguments: argparse.Namespace, output: Output) -> None:
    """Run the bundle on the stream, and print and draw what its smoothing trades."""
    if arguments.plot is not None:
        require("matplotlib", "train")
    from ..runtime.bundle import load_bundle
    from ..runtime.engines.catalogue import open_named_engine
    from .data.corpus import read_corpus
    from .label_map import check_label_map, read_label_map, translate
    from .stream_evaluation import RULE, default_setting, elsewhere, grid, hear, recommend, weigh
    from .stream_plan import plan_stream

    bundle = load_bundle(arguments.models[0])
    corpus = read_corpus(arguments.data)
    label_map = None if arguments.label_map is None else read_label_map(arguments.label_map)
    check_label_map(label_map or {}, corpus.labels)
    meanings = translate(corpus.labels, bundle.labels, label_map)
    minutes, seed = arguments.stream_minutes, arguments.stream_seed
    plan = plan_stream(corpus, arguments.fold, meanings, minutes, seed)
    engine = open_named_engine(bundle, "litert", arguments.kernels)
    output.log(f"{bundle.path}: {_in_words(plan)}")
    heard = hear(bundle.frontend, bundle.labels, engine, plan.audio())
    trades = weigh(heard, plan.truth(bundle.labels), grid())
    default = next(trade for trade in trades if trade.setting == default_setting())
    best = recommend(trades)

    settings = [trade.setting for trade in trades]
    unknown = _unknown_scenes(corpus, arguments.fold, meanings)
    unsure_elsewhere: list[float | None] = [None] * len(settings)
    if len(unknown) > 1:
        other = plan_stream(corpus, arguments.fold, {scene: scene for scene in unknown}, minutes, seed)
        output.log(f"and {minutes:g} min of what it does not know: {', '.join(unknown)}")
        unsure_elsewhere = [*elsewhere(hear(bundle.frontend, bundle.labels, engine, other.audio()), settings)]
    per_scene = _per_scene(default, plan, bundle)
    rows = [
        {**trade.to_dict(), "unsure_elsewhere": share} for trade, share in zip(trades, unsure_elsewhere, strict=True)
    ]
    if not output.as_json:
        print(_text(per_scene, rows, default.setting, best.setting))
    output.record(
        SCHEMA,
        bundle=bundle.name,
        data=str(arguments.data),
        fold=arguments.fold,
        seed=seed,
        minutes=minutes,
        hop_s=heard.hop_s,
        scenes=list(plan.clips),
        unknown_scenes=unknown,
        clips=sum(map(len, plan.clips.values())),
        recordings=_recordings(plan),
        stays=len(plan.stays),
        default=rows[trades.index(default)],
        per_scene=per_scene,
        rule=RULE,
        recommended=rows[trades.index(best)],
        trades=rows,
    )
    if arguments.plot is not None:
        from .stream_plot import draw

        draw(arguments.plot, plan, bundle.labels, heard, trades, default, best)
        output.log(f"wrote {arguments.plot}")


def _recordings(plan: StreamPlan) -> int:
    return len({(clip.scene, clip.identifier) for clips in plan.clips.values() for clip in clips})


def _in_words(plan: StreamPlan) -> str:
    clips = sum(map(len, plan.clips.values()))
    return (
        f"{plan.duration_s / 60:g} min of {', '.join(plan.clips)}, {len(plan.stays)} stays, "
        f"from {clips:,} held-out clips of {_recordings(plan):,} recordings"
    )


def _unknown_scenes(corpus: Corpus, fold: int, meanings: dict[str, str]) -> list[str]:
    return sorted({corpus.clips[index].scene for index in corpus.fold(fold).evaluate} - set(meanings))


def _per_scene(trade: Trade, plan: StreamPlan, bundle: Bundle) -> dict[str, dict[str, Any]]:
    from .stream_evaluation import score_to_dict

    where = {scene: [k for k, stay in enumerate(plan.stays) if stay.scene == scene] for scene in plan.clips}
    scores = {scene: score_to_dict(trade.followed.score(stays)) for scene, stays in where.items() if stays}
    return {**scores, "all": score_to_dict(trade.score)}


#: Columns of both tables: heading and key of a score.
_COLUMNS = (
    ("right", "accuracy"),
    ("unsure", "unsure"),
    ("wrong", "wrong"),
    ("flicker/h", "flicker_per_hour"),
    ("recognised s", "delay_median_s"),
    ("p90 s", "delay_p90_s"),
    ("missed", "missed"),
)


def _cells(row: dict[str, Any]) -> list[str]:
    digits = {"flicker_per_hour": 0, "delay_median_s": 1, "delay_p90_s": 1}
    return [
        "never" if row[key] == float("inf") else "-" if row[key] != row[key] else f"{row[key]:.{digits.get(key, 3)}f}"
        for _, key in _COLUMNS
    ]


def _text(per_scene: dict[str, dict[str, Any]], rows: Sequence[dict[str, Any]], default: Setting, best: Setting) -> str:
    from .stream_evaluation import RULE

    headings = [heading for heading, _ in _COLUMNS]
    scenes = format_table(["scene", *headings], [[scene, *_cells(row)] for scene, row in per_scene.items()])
    shown = []
    for row in rows:
        setting = tuple(row[key] for key in vars(default))
        remark = [
            name for name, one in (("default", default), ("recommended", best)) if tuple(vars(one).values()) == setting
        ]
        if remark or row["on_front"]:
            share = row["unsure_elsewhere"]
            cells = [*_cells(row), f"{row['worth']:.3f}", "-" if share is None else f"{share:.3f}"]
            shown.append([*(f"{value:g}" for value in setting), *cells, ", ".join(remark)])
    trade = format_table(["time s", "enter", "leave", *headings, "worth", "unsure elsewhere", ""], shown)
    return (
        f"with the defaults ({default.smoothing_s:g} s, enter {default.enter:g}, leave {default.leave:g}), "
        f"by what was there:\n\n{scenes}\n\n"
        f"{len(rows)} settings tried; those that none beats in right less wrong, flicker and time to recognise, "
        f"and the default:\n\n{trade}\n\n"
        f"recommended here: --smoothing-s {best.smoothing_s:g} --enter {best.enter:g} --leave {best.leave:g}\n"
        f"rule: {RULE} (column worth)"
    )
