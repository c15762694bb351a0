# SPDX-License-Identifier: BSD-3-Clause
"""Calls and results as bytes: what they look like, and whose fault it is if they cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gearfast import SerializeError, UsageError
from gearfast.tasks.serializers import make_serializer
from gearfast.tasks.signature import Parameters
from gearfast.tasks.wire import Wire


def resize(path: str, width: int = 320, *more: Any, **rest: Any) -> Any: ...
def data(data: bytes, mode: str = "") -> Any: ...
def nothing() -> Any: ...


def wire(serializer: Any = "json", callable: Callable[..., Any] = resize) -> Wire:
    return Wire("resize", make_serializer(serializer), Parameters(callable, "resize"))


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (("a.png",), {}, b'{"args":["a.png"],"kwargs":{}}'),
        (("a.png",), {"width": 64}, b'{"args":["a.png"],"kwargs":{"width":64}}'),
        ((), {"path": "a.png"}, b'{"args":[],"kwargs":{"path":"a.png"}}'),
        (("a", 1, [2], None), {"x": {}}, b'{"args":["a",1,[2],null],"kwargs":{"x":{}}}'),
    ],
)
def test_a_call(args: Any, kwargs: Any, expected: bytes) -> None:
    one = wire()
    workload = one.workload(args, kwargs)
    assert workload == expected
    assert one.arguments(bytes(workload)) == (list(args), kwargs)


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle", json])
def test_a_call_and_its_result_by_each(serializer: Any, require: Any) -> None:
    require.module("msgpack", "msgpack")
    one = wire(serializer)
    assert one.arguments(bytes(one.workload(("a.png",), {"width": 64}))) == (["a.png"], {"width": 64})
    assert one.result(bytes(one.to_result({"size": [1, 2]}))) == {"size": [1, 2]}
    assert one.result(bytes(one.to_result(None))) is None


@pytest.mark.parametrize(
    ("args", "kwargs", "argument"),
    [
        (({1},), {}, "path"),
        (("a", {1}), {}, "width"),
        (("a",), {"width": object()}, "width"),
        (("a", 1, 2, {3}), {}, "more"),
        (("a",), {"other": {3}}, "rest"),
    ],
)
def test_an_argument_that_cannot_be_sent(args: Any, kwargs: Any, argument: str) -> None:
    with pytest.raises(SerializeError, match=f"function 'resize': argument '{argument}' cannot be sent as json: ") as e:
        wire().workload(args, kwargs)
    assert (e.value.function, e.value.argument) == ("resize", argument)
    assert isinstance(e.value.__cause__, TypeError)


def test_an_argument_too_deep() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializeError, match="argument 'path' cannot be sent as json: RecursionError"):
        wire().workload((deep,), {})


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (b"{", "the workload cannot be read as json: JSONDecodeError: "),
        (b"\xff\xfe\xff", "the workload cannot be read as json: UnicodeDecodeError: "),
        (b"[" * 100_000, "the workload cannot be read as json: RecursionError: "),
        (b"5", "the workload is no call with args and kwargs, but int"),
        (b'["a.png"]', "the workload is no call with args and kwargs, but list"),
        (b'{"args": {}}', "the workload is no call: args is a list and kwargs has names"),
        (b'{"args": "a"}', "the workload is no call: args is a list and kwargs has names"),
        (b'{"kwargs": []}', "the workload is no call: args is a list and kwargs has names"),
    ],
)
def test_a_workload_that_is_no_call(workload: bytes, said: str) -> None:
    with pytest.raises(SerializeError) as caught:
        wire().arguments(workload)
    assert str(caught.value).startswith(f"function 'resize': {said}")
    assert (caught.value.function, caught.value.argument) == ("resize", "")


CALLS = st.fixed_dictionaries(
    {}, optional={"args": st.lists(st.integers()) | st.text(), "kwargs": st.dictionaries(st.text(), st.integers())}
)


@given(st.binary() | CALLS.map(lambda call: json.dumps(call).encode()) | st.integers().map(lambda n: b"%d" % n))
@pytest.mark.parametrize("serializer", ["json", "msgpack", "raw"])
def test_any_bytes_are_arguments_or_an_error(serializer: str, require: Any, workload: bytes) -> None:
    """What anybody may send never raises anything else, so that it never is more than one job's failure."""
    require.module("msgpack", "msgpack")
    one = wire(serializer)
    try:
        args, kwargs = one.arguments(workload)
    except (SerializeError, TypeError) as error:
        said = str(error)
    else:
        said = "resize" if one.parameters.bind(args, kwargs) else ""
    assert "resize" in said


def test_names_that_are_no_text(require: Any) -> None:
    msgpack = require.module("msgpack", "msgpack")
    with pytest.raises(SerializeError, match="kwargs has names that are no text"):
        wire("msgpack").arguments(msgpack.packb({"args": ["a"], "kwargs": {1: 2}}))


def test_what_others_may_leave_out_or_add() -> None:
    assert wire().arguments(b'{"args": ["a"], "meta": {"traceparent": "00-"}}') == (["a"], {})
    assert wire().arguments(b'{"kwargs": {"path": "a"}}') == ([], {"path": "a"})
    assert wire(callable=nothing).arguments(b"") == ([], {})
    with pytest.raises(TypeError, match=r"resize\(\): missing a required argument: 'path'"):
        wire().arguments(b"{}")


def test_a_result_that_cannot_be_sent_or_read() -> None:
    with pytest.raises(SerializeError, match="function 'resize': the result cannot be sent as json: TypeError"):
        wire().to_result({1})
    with pytest.raises(SerializeError, match="function 'resize': the result cannot be read as json: JSONDecodeError"):
        wire().result(b"")


@pytest.mark.parametrize(("args", "kwargs"), [((b"x",), {}), ((), {"data": b"x"})])
def test_raw(args: Any, kwargs: Any) -> None:
    one = wire("raw", data)
    assert one.workload(args, kwargs) == b"x"
    assert one.arguments(b"x") == ([b"x"], {})
    assert one.to_result(bytearray(b"y")) == b"y"
    assert one.to_result(None) == b""
    assert one.result(b"y") == b"y"


@pytest.mark.parametrize(
    ("args", "kwargs", "argument", "said"),
    [
        (("text",), {}, "data", "argument 'data' cannot be sent as raw: TypeError: bytes are needed, not str"),
        ((None,), {}, "data", "argument 'data' cannot be sent as raw: TypeError: bytes are needed, not NoneType"),
        ((b"x", "more"), {}, "mode", "serializer 'raw' carries 'data' and nothing else"),
        ((b"x",), {"mode": "more"}, "mode", "serializer 'raw' carries 'data' and nothing else"),
    ],
)
def test_what_raw_cannot_carry(args: Any, kwargs: Any, argument: str, said: str) -> None:
    with pytest.raises(SerializeError) as caught:
        wire("raw", data).workload(args, kwargs)
    assert str(caught.value) == f"function 'resize': {said}"
    assert caught.value.argument == argument


def test_raw_needs_a_parameter() -> None:
    with pytest.raises(UsageError, match="'raw' needs a callable that takes one argument"):
        wire("raw", nothing)
    with pytest.raises(SerializeError, match="the result cannot be sent as raw: TypeError: bytes are needed, not str"):
        wire("raw", data).to_result("text")


def test_a_serializer_of_ones_own() -> None:
    class Broken:
        def dumps(self, value: Any) -> Any:
            return 5

        def loads(self, data: bytes) -> Any:
            raise ZeroDivisionError

    with pytest.raises(SerializeError, match=r"cannot be sent as Broken: TypeError: its dumps gave int, not bytes"):
        wire(Broken()).to_result(1)
    with pytest.raises(SerializeError, match="cannot be read as Broken: ZeroDivisionError"):
        wire(Broken()).result(b"1")


def test_arguments_that_travel_only_alone() -> None:
    """The whole may fail where no part does."""

    class Short:
        def dumps(self, value: Any) -> str:
            text = json.dumps(value)
            if len(text) > 25:
                raise ValueError("too long")
            return text

        loads = staticmethod(json.loads)

    with pytest.raises(SerializeError, match="the arguments cannot be sent as Short: ValueError: too long") as caught:
        wire(Short()).workload(("a" * 20,), {})
    assert caught.value.argument == ""
