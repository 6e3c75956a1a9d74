"""The small parts: redaction, tolerant readers, Server-Sent Events."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.providers.readers import ShapeError, decode_json, items, moment, number, whole
from runner.providers.redaction import Redactor
from runner.providers.sse import SseParser

SECRET = 'sec"ret/ü+1'


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_masked_however_it_is_written(written):
    shown = Redactor([SECRET]).line(f"before {written} after")
    assert "ret" not in shown
    assert base64.b64encode(SECRET.encode()).decode()[:8] not in shown
    assert shown.startswith("before")
    assert shown.endswith("after")


@pytest.mark.parametrize(
    "unknown",
    [
        "rpa_ABCDEFGH12345678",
        "wak_ABCDEFGH12345678ABCDEFGH12345678",
        "hf_abcdefghijkl",
        "eyJhbGciOiJ9.eyJzdWIi.c2ln",
        "Bearer abcdefgh12345",
        "https://user:pa55word@host/",
        'JOB_TOKEN="abcdefgh12345"',
        "supabase_service_key_token: abcdefgh12345",
    ],
)
def test_what_looks_like_a_credential_is_masked_although_nobody_told_us(unknown):
    shown = Redactor().line(f"x {unknown} y")
    assert "***" in shown
    for part in ("ABCDEFGH", "abcdefgh", "pa55word", "c2ln"):
        assert part not in shown


@pytest.mark.parametrize(
    "plain",
    [
        "API key does not have 'training' scope. Key scopes: a, b",
        "Unauthorized: Invalid token",
        "Missing API key. Provide in X-API-Key header or Authorization: Bearer header.",
        "`POST /pods` on RunPod answered 400: There are no longer any instances available",
    ],
)
def test_everyday_messages_stay_as_they_are(plain):
    assert Redactor(["on", "1"]).line(plain) == plain


@given(st.text(max_size=60), st.integers(0, 12_000))
def test_no_known_secret_survives_the_cut_of_a_long_text(prefix, filling):
    text = prefix + "a " * (filling // 2) + "TOPSECRETVALUE" * 3
    assert "TOPSECRET" not in Redactor(["TOPSECRETVALUE"]).line(text)


def test_a_secret_is_not_cut_in_two_by_the_bound_on_long_texts():
    shown = Redactor(["TOPSECRETVALUE"]).line("TOPSECRETVALUE" * 5000)
    assert shown.strip("*…") == ""


@pytest.mark.parametrize(
    ("written", "read"),
    [(1, 1.0), ("0.74", 0.74), (" 3 ", 3.0), (True, None), (None, None), ("NaN", None), ("inf", None), ("", None),
     ([], None), (10**400, None), ("1e999", None), ("9" * 90, None)],
)  # fmt: skip
def test_numbers_are_read_from_both_forms(written, read):
    assert number(written) == read


def test_whole_numbers_refuse_fractions():
    assert [whole(value) for value in (3, 3.0, "3", 3.5, "x")] == [3, 3, 3, None, None]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-07-12T19:14:40.144Z", datetime(2024, 7, 12, 19, 14, 40, 144000, UTC)),
        ("2025-12-16 17:44:56.726 +0000 UTC", datetime(2025, 12, 16, 17, 44, 56, 726000, UTC)),
        ("2025-12-16 19:44:56 +0200 EET", datetime(2025, 12, 16, 17, 44, 56, 0, UTC)),
        ("2025-12-16T17:44:56.123456789Z", datetime(2025, 12, 16, 17, 44, 56, 123456, UTC)),
        ("2025-12-16T17:44:56", datetime(2025, 12, 16, 17, 44, 56, 0, UTC)),
        ("0001-01-01T00:00:00+10:00", None),
        ("yesterday", None),
        (None, None),
        (17, None),
    ],
)
def test_both_forms_of_a_time_are_read_as_utc(written, read):
    assert moment(written) == read


@given(st.one_of(st.text(max_size=90), st.integers(), st.floats(), st.none(), st.booleans()))
def test_tolerant_readers_never_raise(value):
    number(value), whole(value), moment(value)


def test_json_with_nan_is_tolerated_and_other_text_is_a_shape_error():
    assert decode_json(b'{"a": NaN, "b": 1e999}')["b"] == float("inf")
    for body in (b"", b"<html>", b'{"a', b"\xff\xfe", b"[" * 200_000, b"1" * 5000 + b"x"):
        with pytest.raises(ShapeError, match="the answer is not JSON") as caught:
            decode_json(body)
        assert caught.value.__context__ is None


def test_a_missing_list_is_an_error_and_an_empty_one_is_not():
    assert items({"pods": None}, "pods") == ()
    for strange in ({}, {"pods": {}}, [], None, "x"):
        with pytest.raises(ShapeError, match=r"pods|object"):
            items(strange, "pods")


STREAM = (
    b"\xef\xbb\xbf: hello\r\n\r\nid: a/1\ndata: one\n\nid: a/2\r\ndata: tw\xc3\xb6\r\ndata: lines\r\n\r\n"
    b"event: ping\rdata:\r\rretry: 5\ndata: keeps the last id\n\nid: a\x00b\ndata: bad id\n\ndata: cut off"
)
EVENTS = [
    ("a/1", "", "one"),
    ("a/2", "", "twö\nlines"),
    ("a/2", "ping", ""),
    ("a/2", "", "keeps the last id"),
    ("a/2", "", "bad id"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_wherever_the_stream_is_cut_into_chunks(cuts):
    parser, found = SseParser(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        found += parser.feed(STREAM[start:end])
    assert [(event.id, event.event, event.data) for event in found] == EVENTS


@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_an_endless_line_is_cut_and_the_next_event_is_read_again(chunk):
    parser, found = SseParser(max_bytes=100), []
    stream = b"data: " + b"x" * 5000 + b"\n\nid: 9\ndata: fine\n\n"
    for start in range(0, len(stream), chunk):
        found += parser.feed(stream[start : start + chunk])
        assert len(parser._rest) <= 100 + chunk
    assert [event.data.strip("x") for event in found] == ["", "fine"]


def test_an_event_of_endless_lines_is_bounded():
    parser = SseParser(max_bytes=100)
    for _ in range(1000):
        assert parser.feed(b"data: 0123456789\n") == []
    (event,) = parser.feed(b"\n")
    assert len(event.data) <= 110
