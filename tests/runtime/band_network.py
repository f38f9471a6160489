"""The smallest network whose answer can be worked out by hand, as a whole bundle."""

from __future__ import annotations

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
            "tinyscene.export.formats.tflite_writer", reason="needs the export extra: pip install 'tinyscene[export]'"
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
