"""Disagreement counted by hand, and when an ensemble is worse than its best member."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import rel_entr, softmax

from tinyscene.training.disagreement import disagreement, disagreement_tables
from tinyscene.training.ensemble import uniform_weights

SCENES = ("bus", "park", "tram", "never")


def report_of(logits: NDArray, truth: NDArray, clip: NDArray | None = None, temperature: float = 2.0) -> dict:
    names = [f"runs/{i}" for i in range(len(logits))]
    clips = np.arange(len(truth), dtype=np.int32) if clip is None else clip
    weights = uniform_weights(len(logits), logits.shape[2])
    return disagreement(logits, weights, truth, clips, names=names, labels=SCENES, temperature=temperature)


def test_three_members_by_hand() -> None:
    truth = np.array([0, 0, 1, 2])
    said = [[0, 0, 1, 2], [0, 1, 1, 0], [0, 1, 2, 2]]
    logits = 4 * np.eye(4, dtype=np.float32)[said]
    report = report_of(logits, truth)
    assert report["n"] == 4
    assert [member["accuracy"] for member in report["members"]] == [1.0, 0.5, 0.5]
    assert [(pair["first"], pair["second"]) for pair in report["pairs"]] == [
        ("runs/0", "runs/1"),
        ("runs/0", "runs/2"),
        ("runs/1", "runs/2"),
    ]
    assert [pair["agreement"] for pair in report["pairs"]] == [0.5, 0.5, 0.5]
    assert {scene: figures["agreement"] for scene, figures in report["pairs"][0]["per_scene"].items()} == {
        "bus": 0.5,
        "park": 1.0,
        "tram": 0.0,
    }
    assert report["per_scene"]["bus"]["agreement"] == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    # Two answers of softmax([2, 0, 0, 0]) at different places: the divergence is (p - q) log(p / q), either way.
    p, q = np.exp(2) / (np.exp(2) + 3), 1 / (np.exp(2) + 3)
    assert report["pairs"][0]["per_scene"]["tram"]["kl"] == pytest.approx((p - q) * 2)
    assert report["pairs"][0]["kl"] == pytest.approx((p - q) * 2 * 2 / 4)
    assert report["per_scene"]["park"]["kl"] == pytest.approx((p - q) * 2 * (0 + 1 + 1) / 3)
    # Two of three say the right thing of each snippet but the second, so that its logits are (4, 8, 0, 0) / 3.
    assert report["ensemble"]["accuracy"] == 0.75


@given(
    logits=arrays(np.float32, (2, 5, 4), elements=st.floats(-10, 10, width=32)),
    temperature=st.floats(0.5, 5),
)
def test_divergence_is_symmetric_and_scipy_s(logits: NDArray[np.float32], temperature: float) -> None:
    truth = np.array([0, 1, 2, 0, 1])
    forward, backward = report_of(logits, truth, None, temperature), report_of(logits[::-1], truth, None, temperature)
    p, q = softmax(logits.astype(np.float64) / temperature, axis=2)
    expected = (rel_entr(p, q) + rel_entr(q, p)).sum(axis=1).mean() / 2
    assert forward["pairs"][0]["kl"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert forward["pairs"][0]["kl"] == pytest.approx(backward["pairs"][0]["kl"])
    assert forward["pairs"][0]["kl"] >= 0


def noisy(truth: NDArray, share_right: float, strength: float, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(truth)) < share_right, truth, (truth + 1) % 3)
    return (strength * np.eye(4)[said] + 0.1 * rng.standard_normal((len(truth), 4))).astype(np.float32)


def test_warns_when_a_bad_member_drags_the_mean_down() -> None:
    truth = np.random.default_rng(0).integers(0, 3, 300)
    good, bad = noisy(truth, 0.9, 3.0, 1), noisy(truth, 0.2, 6.0, 2)
    warning = report_of(np.stack([good, bad]), truth)["warning"]
    assert "teaches less than its best member alone (accuracy 0." in warning
    assert "of runs/0, cross-entropy" in warning
    # Members that err independently are worth more together.
    peers = np.stack([noisy(truth, 0.8, 3.0, seed) for seed in range(5)])
    assert report_of(peers, truth)["warning"] is None
    assert report_of(np.stack([good, good]), truth)["warning"] is None


def test_a_difference_within_chance_is_no_warning() -> None:
    # Of 100 snippets the ensemble gets one less than the best member: the standard error is about one, too.
    truth = np.zeros(100, dtype=np.int64)
    best = 2 * np.eye(4, dtype=np.float32)[truth]
    other = best.copy()
    other[0] = [0, 5, 0, 0]
    assert report_of(np.stack([best, other]), truth)["warning"] is None
    # Ten of them, from ten clips, are more than chance; from one clip they are a single accident.
    other[:10] = [0, 5, 0, 0]
    assert report_of(np.stack([best, other]), truth)["warning"] is not None
    clip = np.maximum(np.arange(100, dtype=np.int32), 10)
    assert report_of(np.stack([best, other]), truth, clip)["warning"] is None


def test_tables_number_the_members() -> None:
    truth = np.array([0, 1, 2])
    logits = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    report = report_of(logits, truth)
    members, pairs, scenes = disagreement_tables(report).split("\n\n")
    assert members.splitlines()[0] == "| member | model    | weight | accuracy | cross-entropy |"
    assert members.splitlines()[2].startswith("|      1 | runs/0   |  0.500 |")
    assert pairs.splitlines()[2].startswith("| 1 and 2 |")
    assert scenes.splitlines()[0] == "| scene | agreement | KL (T = 2) |"
    assert [line.split()[1] for line in scenes.splitlines()[2:]] == ["bus", "park", "tram"]
    report["members"][0]["weights"] = [0.9, 0.5, 0.5, 0.5]
    members, pairs, scenes = disagreement_tables(report).split("\n\n")
    assert members.splitlines()[0] == "| member | model    | accuracy | cross-entropy |"
    assert scenes.splitlines()[0] == "| scene | agreement | KL (T = 2) | weight of 1 | weight of 2 |"
    assert scenes.splitlines()[2].endswith("|       0.900 |       0.500 |")
