"""What a bare model file says of itself: its labels and its front-end contract, so that it needs no bundle beside it.

In a .tflite it is the metadata entry of the name below, in an .onnx the property of that name; both hold one JSON text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ...runtime.errors import InputError
from ...runtime.frontend_spec import FrontendSpec

METADATA_NAME = "tinyscene"

SCHEMA = "tinyscene.model/1"

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Metadata:
    """Labels in the order of the logits, and the contract of what the network hears."""

    labels: tuple[str, ...]
    frontend: FrontendSpec

    def to_json(self) -> str:
        """One line, the same for the same content."""
        content = {
            "schema": SCHEMA,
            "labels": list(self.labels),
            "frontend": self.frontend.to_dict(),
            "frontend_hash": self.frontend.hash(),
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse_metadata(text: bytes, source: str) -> Metadata:
    """The metadata of a JSON text; raises `InputError` when it is damaged or its contract does not match its hash."""
    if len(text) > _MAX_BYTES:
        raise InputError(f"{source}: its metadata is larger than {_MAX_BYTES} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: its metadata is no JSON ({error})") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{source}: its metadata has schema {found!r:.80}, this program reads {SCHEMA!r}")
    labels, frontend = content.get("labels"), content.get("frontend")
    named = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)
    if not isinstance(labels, list) or not labels or not named or len(set(labels)) != len(labels):
        raise InputError(f"{source}: its metadata has labels {labels!r:.80}, expected different names")
    spec = FrontendSpec.from_dict(frontend)
    if spec.hash() != content.get("frontend_hash"):
        raise InputError(f"{source}: the front-end contract in its metadata does not match its hash")
    return Metadata(tuple(labels), spec)
