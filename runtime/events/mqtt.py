"""Events to an MQTT broker, with a retained state and Home Assistant's discovery.

Topics, under `tinyscene/NAME`: `event` (every event, QoS 1, not retained), `state` (the present state, retained) and
`availability` ("online" or "offline", retained; the broker itself says "offline" when this program dies, by its last
will). An event counts as delivered when the broker has acknowledged it. What is retained is sent with QoS 0: it is sent
again whenever a connection is made, and unlike QoS 1 never a second time after something newer.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import require
from ..output import plain
from .background import BackgroundSink, DeliveryError
from .broker import Broker, client_id
from .discovery import OFFLINE, ONLINE, discovery_message, discovery_topic
from .event import Event
from .state import ListenerState

#: A broker that is silent for one and a half times as long is gone.
KEEP_ALIVE_S = 30

#: Time from one attempt to connect to the next: doubled from the first to the last.
RECONNECT_S = (1, 60)

#: What a clean goodbye may take.
GOODBYE_S = 0.5


class MqttDestination:
    """The connection to a broker: a `Destination` that waits for each event's acknowledgement."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        state: Callable[[], dict[str, Any]],
        discovery: tuple[str, dict[str, Any]] | None,
    ) -> None:
        """Prepare to publish as `name`; `state` gives what is retained, `discovery` a topic and its message.

        Raises `UnavailableError` without the package and `InputError` for a bad authority's file.
        """
        mqtt = require("paho.mqtt.client", "mqtt")
        self.broker, self.base = broker, f"tinyscene/{name}"
        self._state, self._discovery = state, discovery
        self._news = threading.Condition()
        self._connected = False
        self._trouble: str | None = None  # why there is no connection; None before the first attempt has ended
        self._acknowledged: deque[int] = deque(maxlen=64)  # message numbers; those of QoS 0 are among them
        self._sent: tuple[Event, int] | None = None  # waits for its acknowledgement
        self._on_connected: Callable[[], None] = lambda: None
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id(name), protocol=mqtt.MQTTv311)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            client.tls_set_context(broker.tls_context())
        client.will_set(f"{self.base}/availability", OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect, client.on_connect_fail = self._connect_ended, self._connect_failed
        client.on_disconnect, client.on_publish = self._disconnected, self._published
        self._client = client

    def start(self, on_connected: Callable[[], None]) -> None:
        """Connect, and again whenever the connection breaks, in a thread of its own; returns at once."""
        self._on_connected = on_connected
        self._client.connect_async(self.broker.host, self.broker.port, KEEP_ALIVE_S)
        self._client.loop_start()

    def deliver(self, event: Event) -> None:
        """Publish an event and the state; raises `DeliveryError` while there is no connection."""
        with self._news:
            self._news.wait_for(lambda: self._connected or self._trouble is not None)
        if self._sent is None or self._sent[0] is not event:
            self._check()
            sent = self._client.publish(f"{self.base}/event", _json(event.to_dict()), qos=1)
            self._sent = (event, sent.mid)
        # From here on the client itself sends the message again after a broken connection.
        with self._news:
            while self._sent[1] not in self._acknowledged:
                self._check()
                self._news.wait(1.0)
        self._sent = None
        self._retain("state", _json(self._state()))

    def close(self) -> None:
        """Say that this listener is offline and disconnect."""
        if self._connected:
            mid = self._client.publish(f"{self.base}/availability", OFFLINE, qos=1, retain=True).mid
            with self._news:
                self._news.wait_for(lambda: mid in self._acknowledged or not self._connected, GOODBYE_S)
        self._client.disconnect()
        with self._news:
            self._news.wait_for(lambda: not self._connected, GOODBYE_S)

    def _check(self) -> None:
        if not self._connected:
            raise DeliveryError(self._trouble or "no connection yet")

    def _retain(self, topic: str, payload: str) -> None:
        self._client.publish(f"{self.base}/{topic}", payload, qos=0, retain=True)

    # Below: called by the client's thread.

    def _connect_ended(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            advice = ""
            if str(reason) in ("Not authorized", "Bad user name or password"):
                advice = ": check TINYSCENE_MQTT_USER and TINYSCENE_MQTT_PASSWORD in the environment"
            self._lost(f"the broker refused the connection ({str(reason).lower()}){advice}")
            return
        if self._discovery is not None:
            topic, message = self._discovery
            client.publish(topic, _json(message), qos=0, retain=True)
        self._retain("state", _json(self._state()))
        self._retain("availability", ONLINE)
        with self._news:
            self._connected, self._trouble = True, None
            self._news.notify_all()
        self._on_connected()

    def _connect_failed(self, client: Any, userdata: Any) -> None:
        # The client calls this while it handles the exception, and does not pass it on.
        error = sys.exc_info()[1]
        if isinstance(error, ssl.SSLCertVerificationError):
            self._lost(
                f"the broker's certificate is not trusted ({error.verify_message}): "
                "name the authority that signed it with --mqtt-ca, and the host as the certificate does"
            )
        elif isinstance(error, ssl.SSLError):
            self._lost(f"no TLS with the broker ({error.reason or error}): check the port")
        else:
            self._lost(f"cannot connect ({error}): check that the broker runs and may be reached")

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        # A refused connection ends here too, with less to say than before.
        self._lost("the connection was lost" if self._connected else self._trouble or "the broker hung up")

    def _lost(self, trouble: str) -> None:
        with self._news:
            self._connected, self._trouble = False, trouble
            self._news.notify_all()

    def _published(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._news:
            self._acknowledged.append(mid)
            self._news.notify_all()


class MqttSink(BackgroundSink):
    """Events and state to a broker; the state is right also when the queue has given up events."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        bundle_name: str,
        labels: tuple[str, ...],
        log: Callable[[str], None],
        discovery_prefix: str | None = "homeassistant",
        **queue: Any,
    ) -> None:
        """Connect to `broker` as `name`; without a `discovery_prefix` Home Assistant is told nothing.

        `queue` are options of `BackgroundSink`. Raises `UnavailableError` without the package.
        """
        self._state, self._state_lock = ListenerState(bundle_name), threading.Lock()
        discovery = None
        if discovery_prefix is not None:
            message = discovery_message(name, f"tinyscene/{name}", bundle_name, labels)
            discovery = (discovery_topic(discovery_prefix, name), message)
        destination = MqttDestination(broker, name, self._present, discovery)
        super().__init__(broker.url, destination, log, **queue)
        destination.start(self.retry)

    def emit(self, event: Event) -> None:
        """Queue an event; returns at once."""
        with self._state_lock:
            self._state.update(event)
        super().emit(event)

    def _present(self) -> dict[str, Any]:
        with self._state_lock:
            return self._state.to_dict()


def _json(value: dict[str, Any]) -> str:
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False, default=str)
