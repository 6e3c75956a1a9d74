"""Typed values that people write as text: durations, money, prices, sizes, percentages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

T = TypeVar("T")

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII
)
_DURATION_PATTERN = r"^(?=.)(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?$"
_MONEY = re.compile(r"(\d+(?:\.\d+)?)\s*USD", re.ASCII)
_PRICE = re.compile(r"(\d+(?:\.\d+)?)\s*USD/h", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)", re.ASCII)
_SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)


def parse_duration(value: Any) -> timedelta:
    """A duration such as `90s`, `20m` or `1h30m`.

    Raises:
        ValueError: anything else, also a bare number: its unit would be a guess.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) <= 40 else None
    if match is None or not any(match.groups()):
        raise ValueError("write a duration with its unit, such as `90s`, `20m` or `1h30m`")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    try:
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError as exc:
        raise ValueError("this duration is too long") from exc


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back: `1h30m`, `45s`, `0s`."""
    microseconds = value // timedelta(microseconds=1)
    text = ""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)):
        count, microseconds = divmod(microseconds, size)
        text += f"{count}{unit}" if count else ""
    return text + f"{_decimal(microseconds / 1e6)}s" if microseconds or not text else text


def _decimal(number: float) -> str:
    """A number without an exponent, which no pattern here reads."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _needs_unit(parse: Callable[[Any], T]) -> BeforeValidator:
    """In a file a bare number is refused, for its unit would be a guess; our own code passes numbers."""

    def check(value: Any, info: ValidationInfo) -> T:
        written = info.mode == "json" and not isinstance(value, str)
        return parse("" if written else value)

    return BeforeValidator(check)


def _quantity(pattern: re.Pattern[str], value: Any, example: str) -> float:
    match = pattern.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 40 else None
    if match is None:
        raise ValueError(f"write it as {example}")
    return float(match.group(1))


def parse_money(value: Any) -> float:
    """An amount such as `1 USD`, in USD; numbers pass through so that dumping and loading is identity."""
    return value if isinstance(value, float) else _quantity(_MONEY, value, "an amount such as `1 USD`")


def parse_price(value: Any) -> float:
    """An hourly price such as `0.60 USD/h`, in USD per hour."""
    return value if isinstance(value, float) else _quantity(_PRICE, value, "a price such as `0.60 USD/h`")


def parse_size(value: Any) -> int:
    """A size such as `10 MB` or `4 KiB`, in bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 40 else None
    if match is None:
        raise ValueError("write a size with its unit, such as `10 MB`")
    return int(float(match.group(1)) * _SIZE_UNITS[match.group(2)])


def parse_fraction(value: Any) -> float:
    """A share such as `10 %` or `0.1`, as a fraction of one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return _quantity(_PERCENT, value, "a share such as `10 %` or `0.1`") / 100


def _text(pattern: str, example: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example], "description": description})


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    _text(_DURATION_PATTERN, "20m", "A duration with its unit: `90s`, `20m`, `1h30m`."),
]
Money = Annotated[
    float,
    _needs_unit(parse_money),
    PlainSerializer(lambda usd: f"{_decimal(usd)} USD", return_type=str),
    _text(rf"^{_MONEY.pattern}$", "1 USD", "An amount in US dollars: `1 USD`."),
]
Price = Annotated[
    float,
    _needs_unit(parse_price),
    PlainSerializer(lambda usd: f"{_decimal(usd)} USD/h", return_type=str),
    _text(rf"^{_PRICE.pattern}$", "0.60 USD/h", "A price in US dollars per hour: `0.60 USD/h`."),
]
Size = Annotated[
    int,
    _needs_unit(parse_size),
    PlainSerializer(lambda size: f"{size} B", return_type=str),
    _text(rf"^{_SIZE.pattern}$", "10 MB", "A size with its unit: `10 MB`, `4 KiB`."),
]
Fraction = Annotated[
    float,
    BeforeValidator(parse_fraction),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": rf"^{_PERCENT.pattern}$"}],
            "description": "A share: `10 %` or `0.1`.",
        }
    ),
]
