"""What Home Assistant is told, judged by its own rules for such a message and by its templates."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tinyscene.runtime.events.discovery import discovery_message, discovery_topic
from tinyscene.runtime.events.event import Event
from tinyscene.runtime.events.state import ListenerState

MESSAGE = discovery_message("porch", "tinyscene/porch", "bands", ("park", "tram"))
NOW = "2026-01-01T00:00:00.000Z"

#: What the "MQTT" integration's schemas let through, as far as it is used here.
DEVICE_KEYS = {"identifiers", "name", "manufacturer", "model", "sw_version"}
SHARED_KEYS = {"device", "origin", "components", "state_topic", "availability_mode", "qos"}
ENTITY_KEYS = {
    *("platform", "unique_id", "name", "icon", "device_class", "value_template", "entity_category"),
    *("availability", "availability_mode", "json_attributes_topic"),
}
SENSOR_KEYS = ENTITY_KEYS | {"options", "unit_of_measurement", "state_class"}
BINARY_KEYS = ENTITY_KEYS | {"payload_on", "payload_off"}


def test_the_topic_is_one_that_is_looked_at() -> None:
    topic = discovery_topic("homeassistant", "porch-2_b")
    # As the integration matches it: a component, an identity of these characters only, and "config".
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)


def test_the_message_keeps_to_the_schema() -> None:
    assert json.loads(json.dumps(MESSAGE)) == MESSAGE
    assert set(MESSAGE) == SHARED_KEYS
    assert set(MESSAGE["device"]) == DEVICE_KEYS
    assert MESSAGE["origin"]["name"] == "tinyscene"
    identities = [component["unique_id"] for component in MESSAGE["components"].values()]
    assert len(set(identities)) == len(identities) == 4
    for component in MESSAGE["components"].values():
        assert set(component) <= {"sensor": SENSOR_KEYS, "binary_sensor": BINARY_KEYS}[component["platform"]]
        assert component["availability_mode"] == "all"


def test_the_scene_is_an_enumeration_of_the_labels() -> None:
    scene = MESSAGE["components"]["scene"]
    assert scene["device_class"] == "enum"
    assert scene["options"] == ["park", "tram", "unsure"]
    # An enumeration with a unit or a state class is refused.
    assert not {"unit_of_measurement", "state_class"} & set(scene)


def test_a_label_that_is_called_unsure_is_listed_once() -> None:
    message = discovery_message("porch", "tinyscene/porch", "bands", ("unsure", "park"))
    assert message["components"]["scene"]["options"] == ["unsure", "park"]


def shown(events: list[Event]) -> dict[str, str]:
    """What the entities show after `events`: templates over the state message, "offline" where it makes them so."""
    jinja2 = pytest.importorskip("jinja2", reason="no template engine: run `pip install jinja2`")
    state = ListenerState("bands")
    for event in events:
        state.update(event)
    value = {"value_json": json.loads(json.dumps(state.to_dict()))}

    def render(template: str) -> str:
        text: str = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(value)
        return text

    values = {}
    for key, component in MESSAGE["components"].items():
        available = [render(item["value_template"]) for item in component["availability"] if "value_template" in item]
        values[key] = "offline" if "offline" in available else render(component["value_template"])
    return values


STARTED = Event("started", 0.0, NOW, {"source": "mic"})
PARK = Event("scene", 1.0, NOW, {"scene": "park", "previous": None, "probability": 0.7519})


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ("offline", "offline", "ON", "0")),
        # "None" makes an entity unknown.
        ([STARTED], ("None", "None", "OFF", "0")),
        ([STARTED, PARK], ("park", "75.2", "OFF", "0")),
        (
            [STARTED, PARK, Event("unsure", 2.0, NOW, {"previous": "park", "top": "tram", "probability": 0.3})],
            ("unsure", "30.0", "OFF", "0"),
        ),
        (
            [STARTED, PARK, Event("source_down", 2.0, NOW, {"reason": "unplugged"})],
            ("offline", "offline", "ON", "0"),
        ),
        (
            [
                *(STARTED, PARK, Event("source_down", 2.0, NOW, {"reason": "unplugged"})),
                Event("audio_lost", 9.0, NOW, {"samples": 48, "total_samples": 48}),
                Event("source_up", 9.0, NOW, {"after_s": 7.0}),
            ],
            ("park", "75.2", "OFF", "48"),
        ),
        ([STARTED, PARK, Event("stopped", 9.0, NOW, {"dropped_samples": 96})], ("offline", "offline", "ON", "96")),
        ([Event("throttled", 0.0, NOW, {"flags": ["throttled"]})], ("offline", "offline", "ON", "0")),
    ],
)
def test_what_is_shown(events: list[Event], expected: tuple[str, ...]) -> None:
    values: dict[str, Any] = shown(events)
    assert (values["scene"], values["probability"], values["problem"], values["dropped_samples"]) == expected


def test_an_event_says_whether_it_changed_the_state() -> None:
    state = ListenerState("bands")
    assert state.update(STARTED)
    assert not state.update(STARTED)
    assert not state.update(Event("throttled", 0.0, NOW, {}))
    assert state.update(PARK)
    # Values that an event lacks leave what was known.
    assert not state.update(Event("audio_lost", 0.0, NOW, {}))
