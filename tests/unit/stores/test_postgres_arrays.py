"""Arrays in Postgres's binary form: what we send is what the driver itself would read."""

from __future__ import annotations

from typing import Any

import psycopg
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import Format

from eventcore.stores.postgres.arrays import bigint, bigints, byteas, texts

BIGINT = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def loaded(type_name: str, data: bytes) -> Any:
    array_oid = psycopg.adapters.types[type_name].array_oid
    return Transformer().get_loader(array_oid, Format.BINARY).load(data)


@given(st.lists(BIGINT | st.none()))
def test_integers_arrive_as_they_were(values):
    assert loaded("int8", bigints(values)) == values


@given(st.lists(TEXT | st.none()))
def test_texts_arrive_as_they_were(values):
    assert loaded("text", texts(values)) == values


@given(st.lists(st.binary()))
def test_bytes_arrive_as_they_were(values):
    assert loaded("bytea", byteas(values)) == values


@given(BIGINT)
def test_one_integer_arrives_as_it_was(value):
    data = bigint(value)

    assert data is not None
    oid = psycopg.adapters.types["int8"].oid
    assert Transformer().get_loader(oid, Format.BINARY).load(data) == value


def test_no_integer_is_null():
    assert bigint(None) is None
