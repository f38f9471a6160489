"""What Home Assistant is told so that it shows a listener by itself.

One retained message describes the device and its entities ("device discovery" of Home Assistant's MQTT integration,
version 2024.11 and later). Every value is taken from the state message by a template.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

#: What the scene's entity shows while no scene is certain enough.
UNSURE = "unsure"

ONLINE, OFFLINE = "online", "offline"


def discovery_topic(prefix: str, name: str) -> str:
    """Where the message of the listener `name` belongs."""
    return f"{prefix}/device/tinyscene_{name}/config"


def discovery_message(name: str, base: str, bundle_name: str, labels: tuple[str, ...]) -> dict[str, Any]:
    """The message for the listener `name`, whose topics begin with `base`, that tells `labels` apart.

    Entities: the scene, its probability, whether the microphone works, and how many samples were dropped. Scene and
    probability are unavailable while nothing is heard, rather than showing what was true before.
    """
    identity = f"tinyscene_{name}"
    alive = {"topic": f"{base}/availability", "payload_available": ONLINE, "payload_not_available": OFFLINE}
    hears = {
        "topic": f"{base}/state",
        "value_template": f"{{{{ '{ONLINE}' if value_json.listening else '{OFFLINE}' }}}}",
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
    }
    components = {
        "scene": {
            "platform": "sensor",
            "name": "Scene",
            "icon": "mdi:ear-hearing",
            "device_class": "enum",
            "options": list(dict.fromkeys((*labels, UNSURE))),
            # A template that gives "None" makes the entity unknown, which is what it is before the first decision.
            "value_template": f"{{{{ '{UNSURE}' if value_json.unsure else value_json.scene }}}}",
            "json_attributes_topic": f"{base}/state",
            "availability": [alive, hears],
        },
        "probability": {
            "platform": "sensor",
            "name": "Probability",
            "icon": "mdi:percent",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "value_template": "{{ None if value_json.probability is none else "
            "(100 * value_json.probability) | round(1) }}",
            "availability": [alive, hears],
        },
        "problem": {
            "platform": "binary_sensor",
            "name": "Microphone",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "payload_on": "ON",
            "payload_off": "OFF",
            "value_template": "{{ 'OFF' if value_json.listening else 'ON' }}",
            "availability": [alive],
        },
        "dropped_samples": {
            "platform": "sensor",
            "name": "Dropped samples",
            "icon": "mdi:waveform",
            "unit_of_measurement": "samples",
            "state_class": "total_increasing",
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.dropped_samples }}",
            "availability": [alive],
        },
    }
    return {
        "device": {
            "identifiers": [identity],
            "name": name,
            "manufacturer": "tinyscene",
            "model": bundle_name,
            "sw_version": _version(),
        },
        "origin": {"name": "tinyscene", "sw_version": _version()},
        "state_topic": f"{base}/state",
        "availability_mode": "all",
        "qos": 1,
        "components": {
            key: {"unique_id": f"{identity}_{key}", "availability_mode": "all", **component}
            for key, component in components.items()
        },
    }


def _version() -> str:
    try:
        return version("tinyscene")
    except PackageNotFoundError:
        return "unknown"
