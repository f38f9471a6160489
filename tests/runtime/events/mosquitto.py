"""A real broker on a loopback port, and a reader of everything that is published."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from processes import poll_until

APT = "apt-get install -y --no-install-recommends mosquitto openssl"
USER, PASSWORD = "tiny", "s3cret"


def free_port() -> int:
    """A loopback port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """Debian's broker with nothing kept between starts; `secure` asks for TLS, a user and a password."""

    def __init__(self, folder: Path, secure: bool = False) -> None:
        # Debian keeps it in a folder that an ordinary user's path leaves out.
        path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
        program = shutil.which("mosquitto", path=path)
        if program is None or (secure and not all(map(shutil.which, ("mosquitto_passwd", "openssl")))):
            pytest.skip(f"no MQTT broker: run `{APT}`")
        pytest.importorskip("paho.mqtt.client", reason="no MQTT client: run `pip install 'tinyscene[mqtt]'`")
        self._program: str = program
        self.folder, self.port, self.secure = folder, free_port(), secure
        self.process: subprocess.Popen[bytes] | None = None
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", f"allow_anonymous {str(not secure).lower()}"]
        if os.geteuid() == 0:
            lines.append("user root")  # who may read what pytest's folders hold
        if secure:
            make_certificates(folder)
            users = folder / "users"
            subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), USER, PASSWORD], check=True)
            lines += [f"certfile {folder}/server.pem", f"keyfile {folder}/server.key", f"password_file {users}"]
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'mqtts' if self.secure else 'mqtt'}://127.0.0.1:{self.port}"

    def start(self) -> Mosquitto:
        """Start it and wait until it answers."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([self._program, "-c", str(self._configuration)], stderr=log, stdout=log)
        poll_until(self._listens, 60.0)
        return self

    def kill(self) -> None:
        """As a power cut does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Reader:
    """Reads all topics of a broker, what is retained included."""

    def __init__(self, broker: Mosquitto) -> None:
        import paho.mqtt.client as mqtt

        self.messages: list[tuple[str, str, bool]] = []  # topic, payload, retained (kept from before this reader came)
        self._ready = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if broker.secure:
            self._client.username_pw_set(USER, PASSWORD)
            self._client.tls_set_context(ssl.create_default_context(cafile=str(broker.folder / "ca.pem")))
        self._client.on_message = self._message
        self._client.on_connect = lambda client, *rest: client.subscribe("#", 1)
        self._client.on_subscribe = lambda *rest: self._ready.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._ready.wait(30)

    def payloads(self, topic: str) -> list[str]:
        """Everything published to `topic` so far."""
        return [payload for name, payload, _ in list(self.messages) if name == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _message(self, client: Any, userdata: Any, message: Any) -> None:
        self.messages.append((message.topic, message.payload.decode(), message.retain))


def make_certificates(folder: Path) -> None:
    """An authority `ca.pem`, a server's certificate for 127.0.0.1 by it, and `other.pem`, an authority of strangers."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *authority
        )
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "server.ext", "-days", "2")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")


class Gate:
    """A way to the broker that a test opens and shuts, so that a reader is there before what it is to read.

    It takes connections at `port` and passes bytes on both ways; shut, the port refuses and connections are cut.
    """

    def __init__(self, broker: Mosquitto) -> None:
        self._target, self.port = broker.port, free_port()
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []

    def open(self) -> Gate:
        """Let connections through from now on."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def shut(self) -> None:
        """Refuse new connections and cut those that there are."""
        if self._listener is not None:
            _cut(self._listener)
            self._listener = None
        while self._ends:
            _cut(self._ends.pop())

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _cut(near)
                continue
            self._ends += [near, far]
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    _cut(source)
    _cut(target)


def _cut(end: socket.socket) -> None:
    # Closing alone would not wake a thread that waits in accept or recv.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
