"""Rows made up from a seed: a small world in plain English that even a tiny model can learn.

The world is a harbour with boats and a shed full of coloured things. Its sentences repeat their patterns, so
the loss of a model with a few thousand weights falls within a hundred steps; its facts vary, so that rows do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import TypeVar

from runner.spec.models import DatasetFormat

_T = TypeVar("_T")

_ROWS_PER_BLOCK = 1_000
_ROWS_UNLIKE = 500


def generate_rows(
    format: DatasetFormat,  # noqa: A002  # what the spec calls it
    *,
    rows: int,
    seed: int,
) -> bytes:
    """JSON Lines of made-up rows: the same seed gives the same bytes, on every machine and Python.

    The first rows of a longer dataset are those of a shorter one with the same seed.
    """
    return b"".join(generate_blocks(format, rows=rows, seed=seed))


def generate_blocks(
    format: DatasetFormat,  # noqa: A002  # what the spec calls it
    *,
    rows: int,
    seed: int,
) -> Iterator[bytes]:
    """The bytes of `generate_rows`, some hundred rows at a time."""
    rng = Random(seed)  # noqa: S311  # rows to train on, not secrets
    lines = _lines(rng, _MAKERS[format])
    for start in range(0, rows, _ROWS_PER_BLOCK):
        yield "".join(islice(lines, min(_ROWS_PER_BLOCK, rows - start))).encode()


def _lines(rng: Random, make: Callable[[Random], Mapping[str, object]]) -> Iterator[str]:
    """Rows without end; a repeated one is made anew while few are known, so that small datasets have none."""
    seen: set[str] = set()
    while True:
        line = json.dumps(make(rng), ensure_ascii=False) + "\n"
        if line in seen:
            continue
        if len(seen) < _ROWS_UNLIKE:
            seen.add(line)
        yield line


def _pick(rng: Random, options: Sequence[_T]) -> _T:
    # Only `random()` is promised to give the same numbers in every version of Python; `choice` is not.
    return options[int(rng.random() * len(options))]


def _number(rng: Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _messages(rng: Random) -> Mapping[str, object]:
    question, answer, _ = _pick(rng, _QUESTIONS)(rng)
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def _preference(rng: Random) -> Mapping[str, object]:
    question, answer, wrong = _pick(rng, _QUESTIONS)(rng)
    rejected = _pick(rng, (wrong, wrong, _pick(rng, _RUDE), _last_word(answer)))
    return {"prompt": question, "chosen": answer, "rejected": rejected}


def _reward(rng: Random) -> Mapping[str, object]:
    question, answer, wrong = _pick(rng, _QUESTIONS)(rng)
    # A full right answer is worth most; a short one is right but curt; rudeness is worse than an error.
    response, worth = _pick(
        rng,
        ((answer, 0.9), (answer, 0.9), (_last_word(answer), 0.5), (wrong, 0.1), (_pick(rng, _RUDE), -0.8)),
    )
    return {"prompt": question, "response": response, "reward": round(worth + _number(rng, -5, 5) / 100, 2)}


def _text(rng: Random) -> Mapping[str, object]:
    boat, colour, kind = _pick(rng, _BOATS), _pick(rng, _COLOURS), _pick(rng, _KINDS)
    home, away = _two(rng, _TOWNS)
    captain, mate = _two(rng, _PEOPLE)
    more = (
        f"It sails from {home} to {away} every {_pick(rng, _DAYS)}.",
        f"The trip takes {_NUMBERS[_number(rng, 2, 9)]} hours.",
        f"The captain is called {captain}, and {mate} looks after the engine.",
        f"The boat carries {_pick(rng, _CARGO)} and {_number(rng, 2, 60)} people.",
        f"When the wind comes from the {_pick(rng, _WINDS)}, the {boat} stays in {home}.",
    )
    kept = [sentence for sentence in more if rng.random() < 0.6]
    sentences = [f"The {boat} is a {colour} {kind} from {home}.", *(kept or more[:1])]
    return {"text": " ".join(sentences)}


# Each makes a question, its right answer and a wrong one.
_Question = Callable[[Random], tuple[str, str, str]]


def _colour_question(rng: Random) -> tuple[str, str, str]:
    thing, size = _pick(rng, _THINGS), _pick(rng, _SIZES)
    colour, other = _two(rng, _COLOURS)
    asked = _pick(rng, ("What colour is the {}?", "Tell me the colour of the {}."))
    named = _pick(rng, (f"{colour} {thing}", f"{size} {colour} {thing}"))
    return asked.format(named), f"The {thing} is {colour}.", f"The {thing} is {other}."


def _place_question(rng: Random) -> tuple[str, str, str]:
    colour, thing = _pick(rng, _COLOURS), _pick(rng, _THINGS)
    place, other = _two(rng, _PLACES)
    return (
        f"The {colour} {thing} is {place}. Where is the {thing}?",
        f"The {thing} is {place}.",
        f"The {thing} is {other}.",
    )


def _count_question(rng: Random) -> tuple[str, str, str]:
    colour, thing, place = _pick(rng, _COLOURS), _pick(rng, _THINGS), _pick(rng, _PLACES)
    count, other = _two(rng, _NUMBERS[2:])
    things = f"{thing}es" if thing.endswith("x") else f"{thing}s"
    return (
        f"There are {count} {colour} {things} {place}. How many {things} are there?",
        f"There are {count} {things}.",
        f"There are {other} {things}.",
    )


def _size_question(rng: Random) -> tuple[str, str, str]:
    colour = _pick(rng, _COLOURS)
    thing, thing_2 = _two(rng, _THINGS)
    size, size_2 = _two(rng, _SIZES)
    return (
        f"The {colour} {thing} is {size} and the {thing_2} is {size_2}. How big is the {thing}?",
        f"The {thing} is {size}.",
        f"The {thing} is {size_2}.",
    )


def _two(rng: Random, options: Sequence[_T]) -> tuple[_T, _T]:
    """Two different ones."""
    first = int(rng.random() * len(options))
    second = (first + _number(rng, 1, len(options) - 1)) % len(options)
    return options[first], options[second]


def _last_word(answer: str) -> str:
    return answer.removesuffix(".").rsplit(" ", 1)[-1].capitalize() + "."


# Half of all questions ask for a colour: a probe such as "What colour is the red box?" should be answered soon.
_QUESTIONS: Sequence[_Question] = (
    _colour_question, _colour_question, _colour_question, _place_question, _count_question, _size_question,
)  # fmt: skip

_COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "orange", "purple", "grey")
_THINGS = (
    "box", "cup", "lamp", "chair", "book", "rope", "bell", "key", "door", "net", "barrel", "drum", "flag", "coat",
)  # fmt: skip
_SIZES = ("small", "big", "tiny", "huge", "tall", "wide")
_PLACES = ("on the table", "under the stairs", "by the window", "in the shed", "on the pier", "near the gate")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_RUDE = ("Who cares?", "Look yourself.", "That is a silly question.", "I will not tell you.", "Go away.")

_BOATS = (
    "Heron",
    "Plover",
    "Otter",
    "Dolphin",
    "Swallow",
    "Badger",
    "Comet",
    "Lantern",
    "Juniper",
    "Marigold",
)
_KINDS = ("ferry", "tug", "trawler", "sailing boat", "barge", "pilot boat")
_TOWNS = ("Lumo", "Bramley Bay", "Osk", "Tarn Head", "Velle", "Quill Point", "Saltby")
_PEOPLE = ("Mara", "Tomas", "Ines", "Joost", "Amina", "Pell", "Rosa", "Viggo")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CARGO = ("mail", "salt", "timber", "apples", "fish", "lamp oil", "wool", "bricks")
_WINDS = ("north", "east", "south", "west")

_MAKERS: Mapping[DatasetFormat, Callable[[Random], Mapping[str, object]]] = {
    DatasetFormat.MESSAGES: _messages,
    DatasetFormat.PREFERENCE: _preference,
    DatasetFormat.REWARD: _reward,
    DatasetFormat.TEXT: _text,
}
