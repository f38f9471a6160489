"""The verbs `data check`, `data synth` and `data stitch`."""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.cli import Verb
from ...runtime.output import Output

if TYPE_CHECKING:
    from .check import Report
    from .corpus import Corpus

#: Findings of one kind that are printed for a person; `--json` has all.
SHOWN = 10


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, metavar="DIR", help="corpus: TAU layout, or one folder a scene")
    parser.add_argument("--fold", type=int, help="look for leakage in this fold only (all folds without it)")
    parser.add_argument(
        "--probe", action="store_true", help="also score a linear classifier on the mean log-mel (of --fold, or fold 1)"
    )


def _check(arguments: argparse.Namespace, output: Output) -> int:
    from .check import check

    report = check(arguments.dir, arguments.fold, output)
    if not output.as_json:
        _print_findings(report, output)
    for finding in report.findings:
        output.record("tinyscene.finding/1", **asdict(finding))
    if arguments.probe and not report.errors:
        _probe(report.corpus, arguments.fold or min(report.corpus.folds, default=1), output)
    elif arguments.probe:
        output.log("no linear probe: put the errors right first")
    corpus, warnings = report.corpus, len(report.findings) - report.errors
    recordings = len({clip.identifier for clip in corpus.clips})
    verdict = f"errors {report.errors:,}, warnings {warnings:,}" if report.findings else "nothing wrong"
    output.record(
        "tinyscene.check/1",
        text=f"{arguments.dir}: {len(corpus.clips):,} files, {report.seconds / 60:,.1f} min, "
        f"{recordings:,} recordings, {len(corpus.labels)} scenes, {len(corpus.folds)} folds: {verdict}",
        files=len(corpus.clips),
        seconds=report.seconds,
        recordings=recordings,
        labels=corpus.labels,
        devices=sorted({clip.device for clip in corpus.clips}),
        folds=sorted(corpus.folds),
        errors=report.errors,
        warnings=warnings,
    )
    return 1 if report.errors else 0


def _print_findings(report: Report, output: Output) -> None:
    groups = defaultdict(list)
    for finding in report.findings:
        groups[finding.severity, finding.kind].append(finding)
    for (severity, kind), findings in sorted(groups.items()):
        for finding in findings[:SHOWN]:
            text = f"{severity}: {kind}: {finding.where} {finding.message}\n    {finding.fix}"
            output.record("tinyscene.finding/1", text)
        if len(findings) > SHOWN:
            output.record("tinyscene.finding/1", f"{severity}: {kind}: {len(findings) - SHOWN:,} more (--json has all)")


def _probe(corpus: Corpus, fold: int, output: Output) -> None:
    from .probe import probe

    result = probe(corpus, fold, output)
    output.record(
        "tinyscene.probe/1",
        text=f"linear probe on the mean log-mel, fold {fold}: {result.accuracy:.3f} "
        f"of {result.evaluate_snippets:,} snippets (guessing: {result.chance:.3f})",
        fold=fold,
        **asdict(result),
    )


def _synth_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; a corpus of the same settings is kept")
    parser.add_argument("--clips-per-scene", type=int, default=210, metavar="N", help="1-s clips; 5 in 7 train")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other places and events")
    parser.add_argument("--workers", type=int, default=2, help="processes; the result does not depend on it")


def _synth(arguments: argparse.Namespace, output: Output) -> None:
    from .corpus import read_corpus
    from .synth import SynthSpec, generate

    made = generate(arguments.out, SynthSpec(arguments.clips_per_scene, arguments.seed), output, arguments.workers)
    corpus = read_corpus(arguments.out)
    fold = corpus.fold(1)
    locations = {clip.identifier for clip in corpus.clips}
    devices = sorted({clip.device for clip in corpus.clips})
    output.record(
        "tinyscene.synth/1",
        text=f"{arguments.out} {'written' if made else 'was there already'}: {len(fold.train):,} clips to train, "
        f"{len(fold.evaluate):,} to evaluate, {len(corpus.labels)} scenes, {len(locations)} locations, "
        f"devices {' '.join(devices)}",
        made=made,
        train=len(fold.train),
        evaluate=len(fold.evaluate),
        labels=corpus.labels,
        locations=len(locations),
        devices=devices,
    )
    _probe(corpus, 1, output)


def _stitch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, metavar="DIR", help="corpus: TAU layout, or one folder a scene")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="WAV file to write")
    parser.add_argument("--fold", type=int, default=1, help="fold whose evaluation side is played")
    parser.add_argument("--seconds", type=float, default=10.0, help="at most this long at each place")
    parser.add_argument("--seed", type=int, default=0, help="order and choice of the places")


def _stitch(arguments: argparse.Namespace, output: Output) -> None:
    from .corpus import read_corpus
    from .stitch import stitch

    corpus = read_corpus(arguments.dir)
    for stretch in stitch(corpus, arguments.fold, arguments.seconds, arguments.seed, arguments.out):
        text = f"{stretch.start_s:7.2f} s  {stretch.scene:<20} {stretch.identifier}"
        output.record("tinyscene.stretch/1", text, **asdict(stretch))


CHECK = Verb(
    help="find what is wrong with a corpus: missing, damaged, silent, clipped or short files, label typos, leakage",
    example="tinyscene data check recordings --fold 1",
    add_arguments=_check_arguments,
    run=_check,
)

SYNTH = Verb(
    help="write a procedural corpus of ten TAU-like scenes, the same for the same seed",
    example="tinyscene data synth build/synth --clips-per-scene 210 --seed 0",
    add_arguments=_synth_arguments,
    run=_synth,
)

STITCH = Verb(
    help="play places of a corpus one after the other into one recording, to listen to",
    example="tinyscene data stitch build/corpus --out build/walk.wav",
    add_arguments=_stitch_arguments,
    run=_stitch,
)
