"""What happened, for other programs: what an event is and where events go.

An event (`event`) is handed to sinks, which never wait. One that delivers slowly does it behind a bounded queue
(`background`): a file with rotation (`jsonl`), an MQTT broker (`broker`, `mqtt`) with what it keeps (`state`) and what
Home Assistant is told (`discovery`). `systemd` tells the service manager that the program is alive. `options` opens
what the command line asks for.
"""
