# SPDX-License-Identifier: BSD-3-Clause
"""Every setting of the job server, once: `ServerConfig`.

A setting's name, default, parser and help stand in one place, its field. The command line's flags, the environment's
variables, the keys of the configuration file and `--print-config` are all made from the fields. A value is looked for
in this order: flag, environment (`GEARFAST_PORT`), TOML file, default. In the file, tables only group: `[tls] cert`
and `tls_cert` are the same key, as are `GEARFAST_TLS__CERT` and `GEARFAST_TLS_CERT`. Only the policies of functions and
schedules are tables of their own, `[functions."resize*"]` and `[schedules.nightly]`, whose keys are those of
`FunctionPolicy` and `Schedule`; they come from the file alone.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gearfast.errors import UsageError
from gearfast.protocol import DEFAULT_PORT, MAX_PACKET
from gearfast.store.base import LEASE
from gearfast.values import choice, seconds, switch

if TYPE_CHECKING:
    from pathlib import Path

    from gearfast.dispatch.policy import Policies
    from gearfast.schedules import Schedule

__all__ = [
    "ConfigError",
    "Loaded",
    "ServerConfig",
    "Setting",
    "load",
    "load_file",
    "print_config",
    "settings",
]

ENVIRONMENT_PREFIX: Final = "GEARFAST_"
_SIZES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical")
# Variables of the other commands.
_OTHERS: Final = ("config", "servers")
_MAX_FRAME: Final = 0xFFFFFFFF


class ConfigError(UsageError):
    """A setting is unknown, has a value that cannot be, or contradicts another. The text names it and its source."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _optional(value: object) -> str | None:
    return _text(value) or None


def _path(value: object) -> str | None:
    return _optional(os.fspath(value) if isinstance(value, os.PathLike) else value)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word for word in (part.strip() for part in value.split(",")) if word)
    if isinstance(value, Iterable):
        return tuple(_text(word) for word in value)
    raise ValueError("must be a text or a list of texts")


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError("must be a whole number")
        try:
            number = int(value)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return parse


def _size(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", str(value).strip().lower())
        if isinstance(value, bool) or match is None:
            raise ValueError("must be a number of bytes, such as 65536, 64K or 256M")
        number = int(match[1]) * _SIZES[match[2]]
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high} bytes")
        return number

    return parse


def _ceiling(value: object) -> int | None:
    if value is None or str(value).lower() == "auto":
        return None
    return 0 if str(value).lower() == "none" else _size(0, 1 << 60)(value)


def _zero_or(parse: Callable[[object], float], least: float) -> Callable[[object], float]:
    def check_least(value: object) -> float:
        number = parse(value)
        if 0 < number < least:
            raise ValueError(f"must be 0, or {least:g} or more")
        return number

    return check_least


def _least(parse: Callable[[object], float], least: float) -> Callable[[object], float]:
    def check_least(value: object) -> float:
        number = parse(value)
        if number < least:
            raise ValueError(f"must be {least:g} or more")
        return number

    return check_least


def _mode(value: object) -> int:
    # TOML has octal numbers of its own (0o660); a text is octal as chmod's.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    if isinstance(value, str) and re.fullmatch(r"(0o)?0?[0-7]{3}", value):
        return int(value.removeprefix("0o"), 8)
    raise ValueError("must be three octal digits, such as 660")


def _policies(value: object) -> Policies:
    from gearfast.dispatch.policy import Policies  # with the extensions, which `--help` does not need

    return Policies.parse(value)


def _schedules(value: object) -> dict[str, Schedule]:
    from gearfast.schedules import parse_all

    return parse_all(value)


def _setting(
    default: object, parse: Callable[[object], object], help_text: str, metavar: str = "", choices: tuple[str, ...] = ()
) -> Any:
    about = {"parse": parse, "help": help_text, "metavar": metavar, "choices": choices}
    return dataclasses.field(default=default, metadata=about)


def _chosen(default: str, choices: tuple[str, ...], help_text: str) -> Any:
    return _setting(default, choice(*choices), help_text, choices=choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """All settings of a job server. Sizes in bytes, times in seconds, 0 where "no limit" makes sense.

    Values given to the constructor are taken as they are; `load` and `from_values` parse and check them.
    """

    listen: tuple[str, ...] = _setting(
        ("127.0.0.1",),
        _texts,
        "address to listen on: HOST, HOST:PORT, [IPV6]:PORT, * for all, gearman://… or gearmans://… (TLS)",
        "ADDRESS",
    )
    port: int = _setting(DEFAULT_PORT, _whole(0, 65535), "port of addresses without one; 0: any free one", "PORT")
    unix: tuple[str, ...] = _setting((), _texts, "Unix socket to listen on", "PATH")
    unix_mode: int = _setting(0o660, _mode, "mode of Unix sockets", "OCTAL")
    tls_cert: str | None = _setting(None, _path, "PEM file of the certificate and its chain: makes TCP TLS", "FILE")
    tls_key: str | None = _setting(None, _path, "PEM file of the key, if not in the certificate's file", "FILE")
    tls_client_ca: str | None = _setting(None, _path, "PEM file of the CAs that client certificates need", "FILE")
    admin_writes: str = _chosen(
        "all",
        ("all", "unix", "none"),
        "connections that may use text commands which change things (shutdown: never from other machines)",
    )
    driver: str = _chosen("auto", ("auto", "reactor", "stream"), "how connections are served; auto: reactor on Linux")
    order: str = _chosen(
        "priority",
        ("priority", "function", "function-rotate"),
        "which job a worker gets: priority first (gearmand 2.x), or the latest function first (1.1.20; with its -R)",
    )
    job_retries: int = _setting(
        5, _whole(-1, 32767), "how often a job may be lost with its worker; -1: no limit, 0 and 1: no second try", "N"
    )
    wakeup: int = _setting(0, _whole(0, 1 << 30), "how many sleeping workers a job wakes; 0: all of them", "N")
    exceptions: bool = _setting(False, switch, "exceptions reach clients that have not asked for them")
    handle_prefix: str | None = _setting(
        None, _optional, "first part of job handles (default: H: and the host)", "TEXT"
    )
    max_packet: int = _setting(MAX_PACKET, _size(1 << 10, _MAX_FRAME), "largest packet that is accepted", "SIZE")
    high_water: int = _setting(
        1 << 20, _size(1 << 10, 1 << 40), "unsent bytes above which no more is read from that connection", "SIZE"
    )
    max_unsent: int = _setting(
        2 * MAX_PACKET, _size(1 << 16, 1 << 40), "unsent bytes above which a connection is cut", "SIZE"
    )
    max_queued: int | None = _setting(
        None,
        _ceiling,
        "bytes of all queued jobs above which submissions are refused; 0 or none: no limit "
        "(default: 75 % of the memory that this process may use; none in an embedded server)",
        "SIZE",
    )
    max_connections: int = _setting(0, _whole(0, 1 << 24), "most connections; 0: as many as descriptors allow", "N")
    stall_limit: float = _setting(
        300.0,
        seconds,
        "how long a connection above high-water may take nothing before it is cut; 0: for ever",
        "SECONDS",
    )
    backlog: int = _setting(4096, _whole(1, 1 << 20), "connections that may wait to be accepted", "N")
    shutdown_limit: float = _setting(25.0, seconds, "how long running jobs get to finish after SIGTERM", "SECONDS")
    handshake_limit: float = _setting(10.0, seconds, "how long a TLS handshake may take", "SECONDS")
    dead_peer_limit: float = _setting(
        10.0,
        _zero_or(seconds, 2.0),
        "how long a peer that the network does not reach any more may go unnoticed, 2 or more; 0: for ever",
        "SECONDS",
    )
    keepalive_idle: int = _setting(
        0, _whole(0, 32767), "silence before TCP keep-alive probes; 0: as dead-peer-limit needs", "SECONDS"
    )
    keepalive_interval: int = _setting(
        0, _whole(0, 32767), "time between the probes; 0: as dead-peer-limit needs", "SECONDS"
    )
    keepalive_count: int = _setting(
        0, _whole(0, 127), "unanswered probes that end a connection; 0: as dead-peer-limit needs", "N"
    )
    # Off by default: the kernel also ends connections of living peers that do not read for so long.
    user_timeout: float = _setting(
        0.0, seconds, "TCP_USER_TIMEOUT: unacknowledged or unread output ends a connection; 0: system's", "SECONDS"
    )
    silent_limit: float = _setting(
        0.0,
        seconds,
        "how long a connection may stay that has never sent a byte; 0: until others need its place",
        "SECONDS",
    )
    store: str | None = _setting(
        None, _path, "where background jobs are kept, so that nothing loses them (default: in memory only)", "URL"
    )
    durability: str = _chosen(
        "commit", ("commit", "relaxed"), "a background job is acknowledged once it is stored, or at once"
    )
    store_patience: float = _setting(
        5.0, seconds, "how long submissions wait for a store that fails before they are refused", "SECONDS"
    )
    store_memory: int = _setting(
        0,
        _size(0, 1 << 60),
        "bytes that queued jobs may take in memory with a store; the workloads of those that are far from their turn "
        "are then kept by the store alone; 0: no ceiling",
        "SIZE",
    )
    lease: float = _setting(
        LEASE,
        _least(seconds, 0.2),
        "how long a server that shares its store may be silent before others take its jobs over",
        "SECONDS",
    )
    log_level: str = _chosen("info", _LEVELS, "least level that is logged")
    log_format: str = _chosen("text", ("text", "json"), "form of log lines")
    log_file: str | None = _setting(
        None, _path, "file that log lines are added to, opened again on SIGHUP (default: standard error)", "FILE"
    )

    functions: Policies | None = dataclasses.field(default=None, metadata={"parse": _policies})
    schedules: Mapping[str, Schedule] | None = dataclasses.field(default=None, metadata={"parse": _schedules})

    @classmethod
    def from_values(cls, values: Mapping[str, object], source: str = "") -> ServerConfig:
        """Parses and checks `values` (setting's name to value); the rest keeps its default. Raises ConfigError."""
        config = cls(**{name: _parsed(name, value, source) for name, value in values.items()})
        check(config)
        return config


class Setting(NamedTuple):
    """What the command line needs to know of a field of ServerConfig."""

    name: str
    default: object
    help: str
    metavar: str
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        """`--tls-cert` for `tls_cert`."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return isinstance(self.default, bool)

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, tuple)


class Loaded(NamedTuple):
    """A configuration and where each of its settings came from: flag, environment, file or default."""

    config: ServerConfig
    origin: dict[str, str]


_FIELDS: Final = {field.name: field for field in dataclasses.fields(ServerConfig)}
_TABLES: Final = ("functions", "schedules")
_SINGLE: Final = {name: field for name, field in _FIELDS.items() if name not in _TABLES}


def settings() -> list[Setting]:
    """All settings in the order of ServerConfig, but for policies of functions and schedules."""
    return [
        Setting(name, field.default, field.metadata["help"], field.metadata["metavar"], field.metadata["choices"])
        for name, field in _SINGLE.items()
    ]


def _unknown(name: str, source: str) -> ConfigError:
    near = difflib.get_close_matches(name, _FIELDS, 1, 0.6)
    hint = f"; did you mean {near[0]}?" if near else ""
    return ConfigError(f"{source + ': ' if source else ''}unknown setting {name}{hint}")


def _parsed(name: str, value: object, source: str) -> Any:
    field = _FIELDS.get(name)
    if field is None:
        raise _unknown(name, source)
    if value is None and field.default is None:
        return None
    try:
        return cast("Callable[[object], object]", field.metadata["parse"])(value)
    except ValueError as error:
        what = "" if name in _TABLES else f"{value!r} "  # a table, whose error names the place
        raise ConfigError(f"{source + ': ' if source else ''}{name}: {what}{error}") from None


def check(config: ServerConfig) -> None:
    """Raises ConfigError for settings that contradict each other. Opens no file."""
    if config.tls_key and not config.tls_cert:
        raise ConfigError("tls_key needs tls_cert")
    if config.tls_client_ca and not config.tls_cert:
        raise ConfigError("tls_client_ca needs tls_cert: client certificates are part of TLS")
    if config.max_unsent < config.max_packet:
        raise ConfigError("max_unsent must not be below max_packet, or the largest packet could not be sent")
    if config.high_water > config.max_unsent:
        raise ConfigError("high_water must not be above max_unsent")
    if not config.listen and not config.unix:
        raise ConfigError("listen and unix are both empty: the server could not be reached")
    prefix = config.handle_prefix
    if prefix is not None and not re.fullmatch(r"[!-~]{1,42}", prefix):
        raise ConfigError(f"handle_prefix: {prefix!r} must be 1 to 42 printable ASCII letters without spaces")


def _flatten(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        name = prefix + key.replace("-", "_")
        if isinstance(value, Mapping):
            flat.update(_flatten(value, name + "_"))
        else:
            flat[name] = value
    return flat


def load_file(path: str | Path) -> dict[str, object]:
    """The settings of a TOML file, parsed. Raises ConfigError if it cannot be read or has unknown keys."""
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no TOML: {error}") from None
    tables: dict[str, object] = {name: table.pop(name) for name in _TABLES if name in table}
    for name, value in table.items():
        # Not as a setting by the name of all that stands in it, which none is near to.
        if isinstance(value, Mapping) and (near := difflib.get_close_matches(name.lower(), _TABLES, 1, 0.75)):
            raise ConfigError(f"{path}: unknown table {name}; did you mean {near[0]}?")
    values = {**_flatten(table), **tables}
    return {name: _parsed(name, value, str(path)) for name, value in values.items()}


def _environment(environ: Mapping[str, str]) -> dict[str, object]:
    """The settings in the environment.

    Other programs of gearfast have variables of their own, so an unknown one is an error only if it looks like a
    misspelt setting.
    """
    found: dict[str, object] = {}
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "_")
        if name == "port" and "://" in value:
            raise ConfigError(
                f"{variable}: {value!r} is no port; Kubernetes sets it for a service named gearfast: "
                "set enableServiceLinks to false, or name the service otherwise"
            )
        if name in _SINGLE:
            found[name] = _parsed(name, value, variable)
        elif name in _OTHERS:
            continue
        elif near := difflib.get_close_matches(name, _SINGLE, 1, 0.75):
            raise ConfigError(f"{variable}: unknown; did you mean {ENVIRONMENT_PREFIX}{near[0].upper()}?")
    return found


def load(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | Path | None = None,
) -> Loaded:
    """Joins flags, environment, file and defaults to one checked configuration. Raises ConfigError.

    `flags`: settings of the command line by name; None values count as not given.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    layers = (
        ("file", load_file(file) if file is not None else {}),
        ("environment", _environment(environ or {})),
        ("flag", {name: _parsed(name, value, "command line") for name, value in given.items()}),
    )
    values: dict[str, Any] = {}
    origin = dict.fromkeys(_FIELDS, "default")
    for source, layer in layers:
        values.update(layer)
        origin.update(dict.fromkeys(layer, source))
    # Who only names a Unix socket wants no TCP port beside it.
    if values.get("unix") and "listen" not in values and "port" not in values:
        values["listen"] = ()
    config = ServerConfig(**values)
    check(config)
    return Loaded(config, origin)


def _toml(name: str, value: object) -> str:
    if name == "unix_mode" and isinstance(value, int):
        return f"0o{value:o}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml("", word) for word in value) + "]"
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for the letter DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _toml_of_policy(value: object) -> str:
    if not isinstance(value, tuple):
        return _toml("", value)
    high, normal, low = value
    return str(high) if high == normal == low else f"{{ high = {high}, normal = {normal}, low = {low} }}"


def print_config(loaded: Loaded) -> str:
    """The configuration as a TOML file that gives the same one; a comment tells where a value came from."""
    lines = []
    for name in _SINGLE:
        value = getattr(loaded.config, name)
        origin = loaded.origin.get(name, "default")
        if value is None:
            lines.append(f"# {name} is not set")
        else:
            lines.append(f"{name} = {_toml(name, value)}" + ("" if origin == "default" else f"  # {origin}"))
    for pattern, policy in loaded.config.functions.rules if loaded.config.functions else ():
        lines += ["", f"[functions.{_toml('', pattern)}]"]
        lines += [f"{key} = {_toml_of_policy(value)}" for key, value in policy.items()]
    for name, schedule in (loaded.config.schedules or {}).items():
        lines += ["", f"[schedules.{_toml('', name)}]"]
        switches = [key for key, value in schedule.items() if getattr(schedule, key, None) is True]
        lines += [f"{key} = {_toml('', key in switches or value)}" for key, value in schedule.items()]
    return "\n".join(lines) + "\n"
