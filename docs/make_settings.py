# SPDX-License-Identifier: BSD-3-Clause
"""Writes docs/reference/settings.md from the server's settings: `python docs/make_settings.py`.

`page()` is the text; a test compares it with the file.
"""

from __future__ import annotations

from pathlib import Path

from gearfast.server.config import Setting, load, print_config, settings

TARGET = Path(__file__).parent / "reference" / "settings.md"

_HEAD = """\
# Settings of the job server

<!-- Written by docs/make_settings.py from gearfast/server/config.py: change it there. -->

Each setting has one name everywhere. `port` is `--port` on the command line, `GEARFAST_PORT` in the environment and
`port` in the file that `--config` names; and a keyword argument of [Server](server.md), which listens where `host`,
`port` and `unix` say. A value is looked for in this order: command line, environment, file, default. `gearfast server
--check` checks all of them, `--print-config` shows what holds and where it came from.

The file is TOML. Tables only group, so `cert` in `[tls]` is `tls_cert`:

```toml
listen = ["0.0.0.0"]
unix = ["/run/gearfast.sock"]
admin_writes = "unix"
max_queued = "4G"

[tls]
cert = "server.pem"
client_ca = "ca.pem"
```

Tables below `[functions]` are [policies of functions](../policies.md), those below `[schedules]` [periodic
jobs](../schedules.md); they have no flags.

Sizes take k, M and G (of 1024), times are seconds. What the limits do when they are reached is told in
[Reliability](../reliability.md#too-many-too-slow-silent).

| setting | default | what it is |
| --- | --- | --- |
"""

_TAIL = """
SIGTERM ends the server after the running jobs, for which `--shutdown-limit` seconds are left; a second one ends it at
once. SIGUSR1 ends it when no job is left. SIGHUP reads log level, certificates, [policies of
functions](../policies.md) and [schedules](../schedules.md) again and opens the log file anew.
"""


def _value(setting: Setting) -> str:
    """The default as it would stand in the file."""
    line = print_config(load()).splitlines()[[s.name for s in settings()].index(setting.name)]
    value = line.partition(" = ")[2]
    if setting.metavar == "SIZE" and value.isdecimal() and value != "0":
        value = f'"{int(value) >> 20}M"'
    return "none" if line.startswith("#") else f"`{value}`"


def _row(setting: Setting) -> str:
    about = setting.help.split(" (default:")[0].replace("|", "\\|")
    choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
    default = setting.help.partition("(default: ")[2].removesuffix(")") or _value(setting)
    return f"| `{setting.flag}` | {default} | {about}{choices} |\n"


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(map(_row, settings())) + _TAIL


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
