"""`expr:`: what may be written, that nothing else runs, and that nothing grows."""

from __future__ import annotations

import time

import pytest

from runner.conditions.expressions import check_expression

GOOD = [
    "last(train_loss) < 0.9 * first(train_loss)",
    "median(train_loss[-10:]) < median(train_loss[:10]) and steps() >= 100",
    "not log_count('boom') > 0 or alert_count('job_failed') == 0",
    "0 < min(train_loss) < max(train_loss) < 10",
    "abs(last(train_loss) - 1.5) < 0.5 if count(train_loss) > 3 else True",
    "round(mean(train_loss), 2) != 2 ** 0.5",
    r"log_count(r'Step (\d+)/(\d+)') >= 1",
    "cost() < 1 and step >= 10",
    "issue_count('error') == 0",
]

NAMES = [
    "__import__", "open", "eval", "exec", "compile", "getattr", "setattr", "globals", "locals", "vars", "dir",
    "type", "object", "super", "breakpoint", "input", "print", "help", "exit", "quit", "memoryview", "bytearray",
    "classmethod", "staticmethod", "property", "map", "filter", "zip", "iter", "next", "range", "list", "dict",
    "set", "tuple", "str", "bytes", "int", "float", "format", "repr", "hash", "id", "isinstance", "callable", "chr",
    "ord", "sorted", "reversed", "any", "all", "delattr", "hasattr", "rand", "randint", "os", "sys", "subprocess",
]  # fmt: skip
ATTRIBUTES = [
    "__class__", "__bases__", "__mro__", "__subclasses__", "__globals__", "__builtins__", "__dict__", "__init__",
    "__code__", "__closure__", "__self__", "__func__", "__module__", "__reduce__", "__getattribute__", "__doc__",
    "gi_frame", "f_globals", "f_back", "tb_frame", "cr_frame", "ag_frame", "func_globals", "mro", "format",
    "format_map", "count", "index", "real", "imag", "hex", "as_integer_ratio",
]  # fmt: skip
CLASSIC = [
    "__import__('os').system('touch {marker}')",
    "__import__('subprocess').call(['touch', '{marker}'])",
    "open('{marker}', 'w').write('x')",
    "eval(\"open('{marker}', 'w')\")",
    "exec(\"open('{marker}', 'w')\")",
    "().__class__.__bases__[0].__subclasses__()",
    "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen'][0]('touch {marker}', shell=True)",
    "(lambda: open('{marker}', 'w'))()",
    "(lambda f: f(f))(lambda f: f(f))",
    "[x := open('{marker}', 'w')]",
    "(x := open('{marker}', 'w'))",
    "[open('{marker}', 'w') for _ in [1]]",
    "{{open('{marker}', 'w') for _ in [1]}}",
    "{{1: open('{marker}', 'w') for _ in [1]}}",
    "next(open('{marker}', 'w') for _ in [1])",
    'f\'{{open("{marker}", "w")}}\'',
    "'{{0.__class__}}'.format(1)",
    "'%s' % open('{marker}', 'w')",
    "last.__globals__['__builtins__']['open']('{marker}', 'w')",
    "last.__code__",
    "last.__closure__[0].cell_contents",
    "log_count.__self__",
    "log_count(open('{marker}', 'w'))",
    "log_count(pattern=open('{marker}', 'w'))",
    "last(*[open('{marker}', 'w')])",
    "last(**dict(a=open('{marker}', 'w')))",
    "train_loss.__class__",
    "train_loss.count(1)",
    "train_loss[open('{marker}', 'w')]",
    "train_loss['__class__']",
    "(last)(open('{marker}', 'w'))",
    "(last or open)('{marker}', 'w')",
    "(open if 1 else open)('{marker}', 'w')",
    "[last, open][1]('{marker}', 'w')",
    "{{'a': open}}['a']('{marker}', 'w')",
    "import os",
    "from os import system",
    "del train_loss",
    "x = open('{marker}', 'w')",
    "x += 1",
    "assert open('{marker}', 'w')",
    "raise open('{marker}', 'w')",
    "return open('{marker}', 'w')",
    "while True: pass",
    "for x in [1]: open('{marker}', 'w')",
    "def f(): open('{marker}', 'w')",
    "class A: x = open('{marker}', 'w')",
    "with open('{marker}', 'w') as f: pass",
    "try: open('{marker}', 'w')\nexcept: pass",
    "1; open('{marker}', 'w')",
    "1\nopen('{marker}', 'w')",
    "yield open('{marker}', 'w')",
    "(yield)",
    "await open('{marker}', 'w')",
    "...",
    "None",
    "b'x' * 3 == 1",
    "1j == 1",
    "global x",
    "print(open('{marker}', 'w'))",
    "`open('{marker}', 'w')`",
    "exec 'open(1)'",
    "@open",
    "lambda: 0",
    "1 is open('{marker}', 'w')",
    "1 in [open('{marker}', 'w')]",
    "~1 == 1",
    "1 << 2 == 4",
    "1 | 2 == 3",
    "train_loss @ train_loss == 1",
    "{{*train_loss}} == 1",
    "[*train_loss] == 1",
    "\x00open('{marker}', 'w')",
    "",
    "   ",
]
ESCAPES = [
    *CLASSIC,
    *(f"{name}('{{marker}}', 'w') == 1" for name in NAMES),
    *(f"train_loss.{name} == 1" for name in ATTRIBUTES),
    *(f"last(train_loss).{name}() == 1" for name in ATTRIBUTES),
    *(f"().{name} == 1" for name in ATTRIBUTES[:16]),
]

BOMBS = [
    "9**9**9**9 > 1",
    "10**10**10 > 1",
    "2**1000000000 > 1",
    "(-8) ** 0.5 > 1",
    "1e308 * 1e308 > 1",
    "9" * 1_900 + " > 1",
    "'x' * 1000000000 == 1",
    "train_loss * 1000000000 == 1",
    "train_loss + train_loss == 1",
    "sum(sum(sum(train_loss))) > 1",
    "(" * 900 + "1" + ")" * 900,
    "-" * 1_900 + "1 > 0",
    "not " * 450 + "True",
    "+".join(["1"] * 900) + " > 0",
    " and ".join(["last(train_loss) > 0"] * 80),
    "[" * 900 + "]" * 900,
    "last(" * 300 + "train_loss" + ")" * 300,
    "train_loss" + "[:]" * 500,
    "1 // 0 > 1",
    "1 % 0 > 1",
    "round(1.5, 1000000000) > 1",
    "round(1.5, -1000000000) >= 0",
    "log_count('(a+)+$') > 0",
    "x" * 1_999,
]


@pytest.mark.parametrize("text", GOOD)
def test_expression_of_the_language_has_no_problems(text):
    assert check_expression(text) == []


@pytest.mark.parametrize("text", GOOD)
def test_good_expression_is_worked_out(story, text):
    told = story().creates().log("Step 1/2").metrics({step: 2 - step / 10 for step in range(1, 12)})
    assert told.find({"expr": text}).truth is not None


def test_there_are_two_hundred_escapes():
    assert len(set(ESCAPES)) >= 200


@pytest.mark.filterwarnings("ignore")
def test_no_escape_runs(story, tmp_path):
    told = story().log("a").metrics({1: 2.0, 2: 1.0})
    for number, escape in enumerate(ESCAPES):
        marker = tmp_path / str(number)
        text = escape.format(marker=marker) if "{marker}" in escape else escape
        assert check_expression(text), text
        if text:
            assert told.find({"expr": text}).truth is None, text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", BOMBS, ids=[text[:20] for text in BOMBS])
def test_bomb_is_bounded(story, text):
    evidence = story().log("a" * 4_000 + "b").metrics(dict.fromkeys(range(1000), 1.0))
    told = evidence.find
    begun = time.process_time()
    check_expression(text)
    told({"expr": text})
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lst(train_loss) > 1", "`lst` is not a function"),
        ("last > 1", "`last` is a function: write `last(…)`"),
        ("last() > 1", "`last` needs an argument"),
        ("log_count() > 1", "`log_count` takes 1 argument"),
        ("log_count('(') > 1", "not a regular expression"),
        ("log_count(train_loss) > 1", "`log_count` takes a text in quotes"),
        ("last(train_loss)", "an expression must be true or false"),
        ("True", "an expression must look at evidence"),
        ("max(1, 2) > 1 or not 'x'", "an expression must look at evidence"),
        ("train_loss.x > 1", "`Attribute` is not allowed"),
        ("1 +", "not an expression"),
    ],
)
def test_problem_is_named(text, problem):
    assert problem in check_expression(text)[0]


def test_empty_series_is_unknown_and_says_which(story):
    finding = story().log("a").find({"expr": "last(eval_loss) < 1"})
    assert finding.truth is None
    assert "no value of `eval_loss` was seen" in finding.observed


def test_and_and_or_are_decided_by_their_known_side(story):
    told = story().log("a").metrics({1: 1.0})
    assert told.find({"expr": "last(eval_loss) < 1 or last(train_loss) == 1"}).truth is True
    assert told.find({"expr": "last(eval_loss) < 1 and last(train_loss) == 2"}).truth is False
    assert told.find({"expr": "last(eval_loss) < 1 and last(train_loss) == 1"}).truth is None


@pytest.mark.parametrize(
    "text", ["log_count('boom') == 0", "issue_count('error') == 0", "alert_count('job_failed') == 0", "cost() < 1"]
)
def test_silence_of_a_source_that_was_never_heard_proves_nothing(story, text):
    assert story().find({"expr": text}, closed=True).truth is None


def test_missing_source_is_unknown(story):
    told = story().creates().log("a").alert("job_started").misses("logs").misses("alerts")
    assert told.find({"expr": "log_count('a') == 1"}).truth is None
    assert told.find({"expr": "alert_count('job_started') == 1"}).truth is None
    blind = story().creates().log("a").alert("job_completed").misses("start-alert")
    assert blind.find({"expr": "alert_count('job_started') == 0"}).truth is None
    assert blind.find({"expr": "alert_count('job_completed') == 1"}).truth is True


@pytest.mark.parametrize(
    "text",
    [
        "last(train_loss) / 0 > 1",
        "train_loss > 1",
        "last(train_loss) and 2",
        "train_loss[99] > 1",
        "(-last(train_loss)) ** 0.5 > 0",
    ],
)
def test_mistake_is_unknown_not_false(story, text):
    assert story().metrics({1: 1.0}).find({"expr": text}, closed=True).truth is None
