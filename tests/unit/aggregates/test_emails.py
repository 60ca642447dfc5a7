"""Which texts are addresses, by syntax alone, and which are the same one."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventcore.aggregates import emails
from eventcore.aggregates.emails import is_email, same_email


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.com",
        "ada.lovelace+news@mail.example.co.uk",
        "o'brien@example.com",
        "x@service.test",
        "x@printer.local",
        "x@nowhere.invalid",
        "ü@example.com",
        "ada@bücher.example",
    ],
)
def test_an_address_by_its_syntax(address):
    assert is_email(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "a@b@example.com",
        "ada@example..com",
        ".ada@example.com",
        "ada@-example.com",
        "a" * 65 + "@example.com",
        "ada@" + "a" * 64 + ".com",
        "ada@" + "a.b." * 70 + "com",
        "ada\n@example.com",
        "Ada <ada@example.com>",
        "ada@localhost",
        "ada@examplecom",
    ],
)
def test_what_is_no_address(text):
    assert not is_email(text)


labels = st.from_regex(r"[A-Za-z0-9]{1,40}(-[A-Za-z0-9]{1,40})?", fullmatch=True)
locals_ = st.from_regex(r"[A-Za-z0-9_+]{1,30}([.-][A-Za-z0-9_+]{1,30}){0,3}", fullmatch=True)


@given(
    locals_,
    st.lists(labels, min_size=1, max_size=6),
    st.from_regex(r"[A-Za-z]{2,40}", fullmatch=True),
)
@example("a", ["xn-a"], "com")
@example("a", ["1"], "xn")
def test_what_the_short_way_accepts_the_full_check_accepts_too(local, domain, top):
    text = f"{local}@{'.'.join(domain)}.{top}"

    if is_email(text) and top.lower() not in emails._SPECIAL_USE:
        assert emails._passes_full_check(text)


def test_the_published_corpus_is_judged_as_its_authors_do(shared_data):
    lines = (shared_data / "users" / "isemail_tests.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]

    wrong = [
        case["id"]
        for case in cases
        if (case["category"] == "ISEMAIL_ERR" and is_email(case["address"]))
        or (case["category"] == "ISEMAIL_VALID_CATEGORY" and not is_email(case["address"]))
    ]

    assert len(cases) == 153
    assert wrong == [5]  # test@io: a domain without a dot is taken for a mistake


def test_addresses_are_compared_without_case_and_however_they_are_composed():
    assert same_email("ADA@Example.Com") == same_email("ada@example.com")
    assert same_email("e\u0301@example.com") == same_email("\u00c9@example.com")
    assert same_email("ada@example.com") != same_email("ida@example.com")


@pytest.mark.parametrize(
    "other",
    ["a@xn--bcher-kva.example", "A@XN--Bcher-KVA.example", "a@B\u00dcCHER.example"],
)
def test_a_domain_is_the_same_in_both_its_forms(other):
    assert same_email(other) == same_email("a@b\u00fccher.example") == "a@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gro\u00df@example.com", "gross@example.com"),
        ("a@fa\u00df.example", "a@fass.example"),
        ("\ufb01n@example.com", "fin@example.com"),
    ],
)
def test_addresses_that_only_look_alike_are_two(one, other):
    assert same_email(one) != same_email(other)


@pytest.mark.parametrize("text", ["a@xn--.example", "a@" + "\u00fc" * 900, "@", "xn--a", "\u00e9@"])
def test_a_text_whose_domain_is_none_is_compared_as_it_is(text):
    assert same_email(text) == text
    assert same_email(text.upper()) == text
