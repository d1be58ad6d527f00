"""One reading of a body: what common parsers let pass is refused."""

import pytest

from api import strict_json
from api.problems import Code, Problem


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"amount":1,"amount":999}', Code.DUPLICATE_JSON_KEY),
        (b'{"a":{"b":1,"b":1}}', Code.DUPLICATE_JSON_KEY),
        (b'{"amount":1,"\\u0061mount":999}', Code.DUPLICATE_JSON_KEY),
        (b'{"amount":NaN}', Code.MALFORMED_JSON),
        (b'{"amount":-Infinity}', Code.MALFORMED_JSON),
        (b'{"amount":1,}', Code.MALFORMED_JSON),
        (b"{'amount':1}", Code.MALFORMED_JSON),
        (b'{"amount":01}', Code.MALFORMED_JSON),
        (b'{"amount":1} {}', Code.MALFORMED_JSON),
        (b"", Code.MALFORMED_JSON),
        (b'\xef\xbb\xbf{"amount":1}', Code.MALFORMED_JSON),
        ('{"amount":1}'.encode("utf-16"), Code.MALFORMED_JSON),
        (b'{"a":"\xff"}', Code.MALFORMED_JSON),
        (b'{"a":"\\ud800"}', Code.MALFORMED_JSON),
        (b'{"\\ud800":1}', Code.MALFORMED_JSON),
        (b'{"a":"\\u0000"}', Code.MALFORMED_JSON),
        (b'{"a":' + b"9" * 5_000 + b"}", Code.MALFORMED_JSON),
        (b"[" * 9 + b"1" + b"]" * 9, Code.MALFORMED_JSON),
        (b"[" * 30_000 + b"]" * 30_000, Code.MALFORMED_JSON),
        (b'"' + b"a" * strict_json.BYTES_MAX + b'"', Code.BODY_TOO_LARGE),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes, code: Code) -> None:
    with pytest.raises(Problem) as refused:
        strict_json.parse(raw)
    assert refused.value.code is code


def test_honest_json_is_read_as_it_is() -> None:
    assert strict_json.parse('{"a":[1,true,null,"ß€"],"b":{}}'.encode()) == {"a": [1, True, None, "ß€"], "b": {}}
    assert strict_json.parse(b"[" * 8 + b"1" + b"]" * 8) == [[[[[[[[1]]]]]]]]


def test_equal_values_are_written_with_equal_bytes() -> None:
    first = strict_json.canonical(strict_json.parse(b'{ "b" : 1, "a" : "\\u00df" }'))
    assert first == strict_json.canonical(strict_json.parse('{"a":"ß","b":1}'.encode()))
    assert first != strict_json.canonical({"a": "ß", "b": 2})
    assert strict_json.canonical({"a": 1}) != strict_json.canonical({"a": "1"})
    assert strict_json.canonical({"a": 1}) != strict_json.canonical({"a": True})
