# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast admin`: the commands of `gearadmin`, and more, as sub-commands; gearadmin's own options too."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gearfast.cli import OK, schedules, status_of
from gearfast.cli.kept import as_json, as_text, words
from gearfast.cli.options import add_connection_options, add_help, servers, tls_context
from gearfast.errors import ConnectError, GearfastError, JobNotFound, ServerError, UsageError
from gearfast.types import ClusterServer, DeadLetter, KeptResult, PolicyInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext

    from gearfast.session.routing import ServerAddress
    from gearfast.sync.admin import AdminClient

__all__ = ["add_parser", "run"]

_STATUS = ("function", "total", "running", "workers")
_PRIORITIES = ("function", "high", "normal", "low", "workers")
_WORKERS = ("fd", "address", "id", "functions")
_POLICIES = ("pattern", "settings")
_CLUSTER = ("id", "host", "pid", "addresses", "jobs", "lease", "lag")
_DEAD = ("handle", "function", "unique", "tries", "reason", "time")
_SCHEDULES = schedules.COLUMNS
_RESULTS = ("handle", "function", "unique", "outcome", "size", "time")
_JOBS = ("handle", "retries", "ignored", "background")


class Verb(NamedTuple):
    """A sub-command. `columns`: of a table; else `act` returns one value, or None for "done"."""

    name: str
    help: str
    act: Callable[[AdminClient, argparse.Namespace], Any]
    columns: Sequence[str] = ()
    arguments: Sequence[tuple[str, dict[str, Any]]] = ()
    flag: str = ""
    """gearadmin's option for it."""
    text: Callable[[Any], str] = str
    """How its one value is shown to people; in JSON it stays what it is."""


def _ping(admin: AdminClient, args: argparse.Namespace) -> float:
    """Seconds for connecting and one answer."""
    began = time.perf_counter()
    admin.version()
    return round(time.perf_counter() - began, 6)


def _only(args: argparse.Namespace, rows: list[Any]) -> list[Any]:
    """Those of the functions that were named."""
    wanted = getattr(args, "patterns", ())
    return [row for row in rows if not wanted or any(fnmatch.fnmatchcase(row.function, one) for one in wanted)]


def _policy(admin: AdminClient, args: argparse.Namespace) -> list[PolicyInfo]:
    """The list, as it is then; of `get` the function's line, or nothing; of `set` the pattern's."""
    action, pattern = args.action, args.pattern
    if (action == "list") != (pattern is None) or (action == "set") != bool(args.settings):
        raise UsageError("it is `policy`, or with get FUNCTION, set PATTERN KEY=VALUE ..., or unset PATTERN")
    if action == "get":
        found = admin.policy(pattern)
        return [PolicyInfo(pattern, found)] if found else []
    if action == "unset":
        admin.unset_policy(pattern)
    elif action == "set":
        settings = schedules.read_settings(args.settings)
        admin.set_policy(pattern, **{key: value or None for key, value in settings.items()})
    return [entry for entry in admin.policies() if action != "set" or entry.pattern == pattern]


def _cluster(admin: AdminClient, args: argparse.Namespace) -> list[ClusterServer]:
    """What a server knows of the others; or what the store itself says, which no server has to be up for."""
    if args.store is None:
        return admin.cluster()
    from gearfast.store.base import SharedStore, StoreError
    from gearfast.store.urls import make_store

    try:
        store = make_store(args.store)
        if not isinstance(store, SharedStore):
            raise UsageError(f"{store.name}: one server has this store for itself")
        servers = store.look().servers
    except ValueError as error:
        raise UsageError(str(error)) from None
    except StoreError as error:
        raise ConnectError(str(error)) from None
    return [
        ClusterServer(each.id, each.about.host, each.about.pid, each.about.addresses, each.jobs, each.left, each.lag)
        for each in servers
    ]


def _dead(admin: AdminClient, args: argparse.Namespace) -> Any:
    """The list; all of one; or of `requeue` and `drop` how many there were."""
    action, which = args.action, args.which
    if action != "list" and which is None:
        raise UsageError("it is `dead`, or with list [FUNCTION], show HANDLE, or requeue or drop HANDLE|FUNCTION|*")
    if action == "list":
        return admin.dead_letters(which)
    if action == "show":
        return admin.dead_letter(which)
    return admin.requeue_dead(which) if action == "requeue" else admin.drop_dead(which)


def _results(admin: AdminClient, args: argparse.Namespace) -> Any:
    """The list; all of one; or of `drop` how many there were."""
    action, which = args.action, args.which
    if action != "list" and which is None:
        raise UsageError("it is `results`, or with list [FUNCTION], show HANDLE, or drop HANDLE|FUNCTION|*")
    if action == "list":
        return admin.results(which)
    return admin.result(which) if action == "show" else admin.drop_results(which)


_FUNCTION: dict[str, Any] = {"metavar": "FUNCTION"}
_PATTERNS: dict[str, Any] = {"nargs": "*", "metavar": "FUNCTION", "help": "only these; * and ? as in the shell"}
_HANDLE: dict[str, Any] = {"metavar": "HANDLE"}
_GRACEFUL: dict[str, Any] = {"action": "store_true", "help": "end when no job is left"}
_ACTION: dict[str, Any] = {
    "nargs": "?",
    "choices": ("list", "get", "set", "unset"),
    "default": "list",
    "help": "get FUNCTION: what holds for it; set PATTERN KEY=VALUE ...; unset PATTERN (default: list)",
}
_DEAD_ACTION: dict[str, Any] = {
    "nargs": "?",
    "choices": ("list", "show", "requeue", "drop"),
    "default": "list",
    "help": "list [FUNCTION]; show HANDLE; requeue or drop HANDLE, FUNCTION or * for all (default: list)",
}
_RESULTS_ACTION: dict[str, Any] = {
    "nargs": "?",
    "choices": ("list", "show", "drop"),
    "default": "list",
    "help": "list [FUNCTION]; show HANDLE; drop HANDLE, FUNCTION or * for all (default: list)",
}
_WHICH: dict[str, Any] = {"nargs": "?", "metavar": "WHICH", "help": "a handle, a function, or *"}
_PATTERN: dict[str, Any] = {"nargs": "?", "metavar": "PATTERN", "help": "a function, or several with * and ?"}
_SETTINGS: dict[str, Any] = {
    "nargs": "*",
    "metavar": "KEY=VALUE",
    "help": "such as timeout=30 or rate=100/s; KEY= takes a key away",
}
_STORE: dict[str, Any] = {"metavar": "URL", "help": "ask the store itself, for when no server is up"}
_LIMITS: dict[str, Any] = {
    "nargs": "*",
    "type": int,
    "metavar": "N",
    "help": "one limit for all priorities, or those of high, normal and low; none: no limit",
}

# Those with a flag stand in the order in which gearadmin does them.
VERBS: Final = (
    Verb("getpid", "the server's process id", lambda admin, args: admin.getpid(), flag="--getpid"),
    Verb(
        "create",
        "make a function",
        lambda admin, args: admin.create_function(args.function),
        arguments=[("function", _FUNCTION)],
        flag="--create-function",
    ),
    Verb(
        "drop",
        "forget a function",
        lambda admin, args: admin.drop_function(args.function),
        arguments=[("function", _FUNCTION)],
        flag="--drop-function",
    ),
    Verb("jobs", "jobs, queued or running", lambda admin, args: admin.jobs(), _JOBS, flag="--show-jobs"),
    Verb(
        "unique-jobs",
        "uniques of the jobs",
        lambda admin, args: admin.unique_jobs(),
        ("unique",),
        flag="--show-unique-jobs",
    ),
    Verb(
        "cancel",
        "take a job out of the queue",
        lambda admin, args: admin.cancel_job(args.handle),
        arguments=[("handle", _HANDLE)],
        flag="--cancel-job",
    ),
    Verb("verbose", "the server's log level", lambda admin, args: admin.verbose(), flag="--server-verbose"),
    Verb("version", "the server's version", lambda admin, args: admin.version(), flag="--server-version"),
    Verb(
        "workers",
        "connections with their functions",
        lambda admin, args: admin.workers(),
        _WORKERS,
        flag="--workers",
    ),
    Verb(
        "priority-status",
        "queued jobs by priority",
        lambda admin, args: _only(args, admin.priority_status()),
        _PRIORITIES,
        [("patterns", _PATTERNS)],
        "--priority-status",
    ),
    Verb(
        "status",
        "functions with their jobs and workers",
        lambda admin, args: _only(args, admin.status()),
        _STATUS,
        [("patterns", _PATTERNS)],
        "--status",
    ),
    Verb(
        "maxqueue",
        "limit the queue of a function",
        lambda admin, args: admin.maxqueue(args.function, *args.limits),
        arguments=[("function", _FUNCTION), ("limits", _LIMITS)],
    ),
    Verb(
        "policy",
        "what functions are allowed: the list, or get, set and unset",
        lambda admin, args: _policy(admin, args),
        _POLICIES,
        arguments=[("action", _ACTION), ("pattern", _PATTERN), ("settings", _SETTINGS)],
    ),
    Verb(
        "cluster",
        "the servers that share the store",
        lambda admin, args: _cluster(admin, args),
        _CLUSTER,
        arguments=[("--store", _STORE)],
    ),
    Verb(
        "dead",
        "jobs that failed for good: the list, or show, requeue and drop",
        lambda admin, args: _dead(admin, args),
        _DEAD,
        arguments=[("action", _DEAD_ACTION), ("which", _WHICH)],
        text=as_text,
    ),
    Verb(
        "results",
        "what background jobs have left: the list, or show and drop",
        lambda admin, args: _results(admin, args),
        _RESULTS,
        arguments=[("action", _RESULTS_ACTION), ("which", _WHICH)],
        text=as_text,
    ),
    Verb(
        "schedule",
        "periodic jobs: the list, or add, set, remove, pause, resume and run",
        schedules.act,
        _SCHEDULES,
        arguments=schedules.ARGUMENTS,
    ),
    Verb("ping", "whether it answers, and how fast", _ping, text=lambda seconds: f"{seconds * 1000:.3f} ms"),
    Verb(
        "shutdown",
        "end the server",
        lambda admin, args: admin.shutdown(graceful=args.graceful),
        arguments=[("--graceful", _GRACEFUL)],
    ),
)

_EPILOG = """\
On a terminal lists are tables; elsewhere they are lines of tabs, as gearadmin prints them, or JSON with --json. Of
several servers each one is asked, and its name stands first. The options of gearadmin print what gearadmin prints.
Exit status: 0 fine, 1 refused by the server, 2 usage, 3 cannot connect, 4 no answer in time; of several the greatest.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast admin`."""
    parser = subparsers.add_parser(
        "admin",
        help="ask and administer a job server",
        usage="gearfast admin [options] COMMAND ...",
        description="Asks and administers job servers.",
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_help(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="limit (default: 10)")
    add_connection_options(parser, several="each one is asked")
    group = parser.add_argument_group("options of gearadmin, any number of them")
    for verb in VERBS:
        if verb.flag:
            _add_flag(group, verb)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="verb", prog="gearfast admin")
    for verb in sorted(VERBS, key=lambda verb: verb.name):
        sub = verbs.add_parser(verb.name, help=verb.help, description=verb.help.capitalize() + ".")
        for name, options in verb.arguments:
            sub.add_argument(name, **options)
        # Also behind the sub-command, where one looks for it; SUPPRESS keeps what was said before it.
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        sub.set_defaults(chosen=verb)
    parser.set_defaults(run=run)


def _add_flag(group: argparse._ArgumentGroup, verb: Verb) -> None:
    if verb.arguments and verb.arguments[0][0] != "patterns":
        group.add_argument(verb.flag, metavar=verb.arguments[0][0].upper(), help=argparse.SUPPRESS, dest=verb.flag)
    else:
        group.add_argument(verb.flag, action="store_true", help=argparse.SUPPRESS, dest=verb.flag)


class Answer(NamedTuple):
    """What a server said to a command. `value`: a list for one with columns, None for "done", or an error."""

    verb: Verb
    server: str
    value: Any

    @property
    def plain(self) -> Any:
        """One value as JSON has it."""
        if isinstance(self.value, GearfastError):
            return {"error": str(self.value), "kind": type(self.value).__name__}
        if isinstance(self.value, (DeadLetter, KeptResult)):
            return as_json(self.value)
        return True if self.value is None else self.value

    @property
    def text(self) -> str:
        """One value for people."""
        return "OK" if self.value is None else self.verb.text(self.value)


def run(args: argparse.Namespace) -> int:
    """Asks the servers and prints their answers."""
    flagged = [verb for verb in VERBS if verb.flag and getattr(args, verb.flag)]
    if args.verb is None and not flagged:
        raise UsageError(f"what? one of: {', '.join(sorted(verb.name for verb in VERBS))}")
    if args.verb is not None and flagged:
        raise UsageError(f"either the command {args.verb} or gearadmin's option {flagged[0].flag}, not both")
    from gearfast.session.routing import parse_servers

    addresses = parse_servers(servers(args))
    context = tls_context(args)
    answers: list[Answer] = []
    status = OK
    told: object = None
    for address in addresses:
        for answer in _ask(address, args, flagged or [_chosen(args)], context):
            failed = isinstance(answer.value, GearfastError)
            if failed and answer.value is not told:
                told = answer.value
                print(f"gearfast admin: {_complaint(answer)}", file=sys.stderr)
                status = max(status, status_of(answer.value))
            if args.json or not (failed or flagged):
                answers.append(answer)
            elif not failed:
                _print_as_gearadmin(answer)
    if answers:
        print((_json if args.json else _text)(answers, len(addresses) > 1, bool(flagged)), end="")
    return status


def _chosen(args: argparse.Namespace) -> Verb:
    """The command; of `dead` and `results` only the list is a table, and a run of a schedule has a handle."""
    verb: Verb = args.chosen
    one = (verb.name in ("dead", "results") and args.action != "list") or (
        verb.name == "schedule" and args.action == "run"
    )
    return verb._replace(columns=()) if one else verb


def _ask(
    address: ServerAddress, args: argparse.Namespace, verbs: Sequence[Verb], context: SSLContext | None
) -> Iterator[Answer]:
    """The answers of one server. Errors come as values; one without an answer stands for all commands after it too.

    Raises UsageError for what no server is asked.
    """
    from gearfast import AdminClient

    scheme = "unix://" if address.path else "gearmans://" if address.tls else "gearman://"
    lost: GearfastError | None = None
    with AdminClient(scheme + (address.path or address.label), timeout=args.timeout, ssl=context) as admin:
        for verb in verbs:
            if lost is not None:
                yield Answer(verb, address.label, lost)
                continue
            if args.verb is None and verb.arguments:
                setattr(args, verb.arguments[0][0], () if verb.columns else getattr(args, verb.flag))
            try:
                yield Answer(verb, address.label, verb.act(admin, args))
            except UsageError:
                raise
            except GearfastError as error:
                yield Answer(verb, address.label, error)
                lost = None if isinstance(error, ServerError) else error


def _complaint(answer: Answer) -> str:
    text = str(answer.value)
    if isinstance(answer.value, JobNotFound):
        kept = answer.verb.name if answer.verb.name in ("dead", "results") else "jobs"
        text += f"; `gearfast admin {kept}` lists those that are there"
    elif answer.verb.name == "shutdown" and getattr(answer.value, "code", "") == "UNKNOWN_COMMAND":
        text = "it has no such command; a signal to the process that `gearfast admin getpid` names ends it"
    return text if answer.server in text else f"{answer.server}: {text}"


def _print_as_gearadmin(answer: Answer) -> None:
    if answer.verb.columns:
        for entry in answer.value:
            print(_line(answer.verb, entry))
        print(".", flush=True)
    else:
        print(answer.text, flush=True)


def _json(answers: list[Answer], several: bool, flagged: bool) -> str:
    """A list of rows, or an object of the command's name and its value; with gearadmin's options an object of all.

    A server that did not answer, or refused, has an entry with `error` and `kind` instead.
    """
    found: dict[str, Any] = {}
    for answer in answers:
        name = answer.verb.name
        if answer.verb.columns:
            failed = isinstance(answer.value, GearfastError)
            rows = [answer.plain] if failed else [_row(entry, answer.verb.columns) for entry in _sorted(answer)]
            found.setdefault(name, []).extend({"server": answer.server} | row if several else row for row in rows)
        elif several:
            found.setdefault(name, {})[answer.server] = answer.plain
        else:
            found[name] = answer.plain
    verb = answers[0].verb
    return json.dumps(found[verb.name] if verb.columns and not flagged else found, indent=2) + "\n"


def _text(answers: list[Answer], several: bool, flagged: bool) -> str:
    """A table on a terminal, else lines as gearadmin prints them; of several servers the name comes first."""
    verb = answers[0].verb
    if verb.columns and sys.stdout.isatty():
        from gearfast.cli.table import table

        columns = schedules.TABLE if verb.columns is _SCHEDULES else verb.columns
        columns = ("server", *columns) if several else columns
        rows = [
            {"server": answer.server} | _row(entry, verb.columns) for answer in answers for entry in _sorted(answer)
        ]
        for row in rows:
            if "settings" in row:
                row["settings"] = _settings(row["settings"])
            if verb.columns is _SCHEDULES:
                row |= schedules.shown(row)
            if verb.columns in (_DEAD, _RESULTS):
                row["time"] = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(row["time"]))
        return table(rows, columns) + "\n"
    lines = []
    for answer in answers:
        head = f"{answer.server}\t" if several else ""
        if verb.columns:
            lines += [f"{head}{_line(verb, entry)}\n" for entry in _sorted(answer)]
        else:
            lines.append(f"{head}{answer.text}\n")
    return "".join(lines)


def _sorted(answer: Answer) -> list[Any]:
    """Functions by name, as servers list them in any order; the rest as it came."""
    return sorted(answer.value) if answer.verb.columns[0] == "function" else answer.value


def _row(entry: Any, columns: Sequence[str]) -> dict[str, Any]:
    if columns is _SCHEDULES:
        return schedules.plain(entry)
    return {name: entry if isinstance(entry, str) else _shown(getattr(entry, name)) for name in columns}


def _shown(value: object) -> object:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _settings(settings: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())


def _line(verb: Verb, entry: Any) -> str:
    """The line of the text protocol that this entry was read from."""
    if isinstance(entry, str):
        return entry
    if verb.columns is _WORKERS:
        return " ".join([str(entry.fd), entry.address, entry.id, ":", *entry.functions])
    if verb.columns is _POLICIES:
        return f"{entry.pattern}\t{_settings(entry.settings)}"
    if verb.columns is _SCHEDULES:
        return schedules.line(entry)
    if verb.columns in (_DEAD, _RESULTS):
        return "\t".join(words(entry).values())
    if verb.columns is _CLUSTER:
        return "\t".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in entry)
    return "\t".join(
        str(int(value) if isinstance(value, bool) else value) for value in _row(entry, verb.columns).values()
    )
