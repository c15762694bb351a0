# SPDX-License-Identifier: BSD-3-Clause
"""Each serializer: what goes there and back, what does not, and which is not safe."""

from __future__ import annotations

import json
import marshal
import math
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gearfast import UsageError
from gearfast.tasks.serializers import NAMED, Json, MessagePack, Pickle, Raw, is_unsafe, make_serializer, name_of

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates are no text that UTF-8 has.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(values)
@pytest.mark.parametrize("name", ["json", "msgpack", "pickle"])
def test_there_and_back(name: str, require: Any, value: object) -> None:
    require.module("msgpack", "msgpack")
    serializer = make_serializer(name)
    data = serializer.dumps(value)
    assert isinstance(data, bytes)
    assert serializer.loads(data) == value


def test_json_is_what_everybody_reads() -> None:
    assert (
        Json().dumps({"args": ["é", 1.5, None, True], "kwargs": {}})
        == '{"args":["é",1.5,null,true],"kwargs":{}}'.encode()
    )
    assert Json().loads(b' {"a": [1]} ') == {"a": [1]}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, b"bytes", {1, 2}, object(), "\ud800", {(1, 2): 3}])
def test_json_refuses_what_others_could_not_read(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Json().dumps(value)


def test_msgpack_has_bytes(require: Any) -> None:
    require.module("msgpack", "msgpack")
    serializer = MessagePack()
    assert serializer.loads(serializer.dumps([b"\0\xff", "text", {1: 2}])) == [b"\0\xff", "text", {1: 2}]


def test_msgpack_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(UsageError, match=r"pip install 'gearfast\[msgpack\]'"):
        make_serializer("msgpack")


@pytest.mark.parametrize("data", [b"", b"\0\xff", bytearray(b"x"), memoryview(b"y")])
def test_raw_is_as_it_is(data: bytes) -> None:
    assert Raw().dumps(data) is data


@pytest.mark.parametrize("value", ["text", None, 5, [b"x"]])
def test_raw_is_bytes(value: object) -> None:
    with pytest.raises(TypeError, match=f"not {type(value).__name__}"):
        Raw().dumps(value)


def test_any_object_with_two_methods() -> None:
    assert make_serializer(json) is json
    with pytest.raises(UsageError, match="an object with dumps and loads"):
        make_serializer(SimpleNamespace(dumps=print))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no serializer 'yaml'; there are json, msgpack, pickle, raw"):
        make_serializer("yaml")


def test_names() -> None:
    assert [name_of(kind) for kind in (Json(), Raw(), json, SimpleNamespace(name=5))] == [  # type: ignore[arg-type]
        "json",
        "raw",
        "json",
        "SimpleNamespace",
    ]
    assert set(NAMED) == {"raw", "json", "msgpack", "pickle"}


def test_who_may_run_code() -> None:
    assert [is_unsafe(one) for one in (Pickle(), pickle, marshal, Json(), json, Raw())] == [True] * 3 + [False] * 3
