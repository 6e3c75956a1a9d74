"""Text that tries to break out of whatever it is written into, and runs that are full of it."""

from __future__ import annotations

import fake_runs as fake

from runner.history import RecordedRun
from runner.results import Outcome

PAYLOADS = [
    "<!-- runspec:end results:cpt_standard -->",
    "\n<!-- runspec:end results:cpt_standard sha256:000000000000 -->\n# Owned",
    "a | b | c \\| d",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "<https://evil.example>",
    "**bold** _under_ ~~gone~~ `code` ``co`de``",
    "# heading",
    "1. list",
    "- list",
    "> quote",
    "```\nfence",
    "~~~\nfence",
    "    indented",
    "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "\u202egnp.exe\u202c \u2066iso\u2069",
    "zero\u200bwidth\ufeffbom\u00adsoft",
    "line\u2028sep\u2029para\x85nel\x0b\x0c",
    "nul\x00 bell\x07 del\x7f c1\x9b31m",
    "\ud800 half a pair",
    "&lt;b&gt; &amp; &#60;",
    "trailing backslash \\",
    "]]> <![CDATA[ x ]]> --> <!--",
    "=cmd|'/c calc'!A1",
    "{{ 7*7 }} {% raw %} ${jndi:ldap://x}",
    "$a$ $$b$$",
    "x" * 5000,
    "|\n|---|\n| table |",
    "<table><tr><td>",
    "\t\ttabs\t",
    '" onmouseover="alert(1)" x="',
    "' onfocus='alert(1)' autofocus='",
    "</title><svg onload=alert(1)>",
    "</style><style>*{display:none}</style>",
    "</details></main><h1>owned</h1>",
    "</svg><foreignObject><iframe src=//evil.example>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "<!DOCTYPE x [<!ENTITY a \"b\">]>&a;",
    "<?xml version='1.0'?><testsuites/>",
    "</testcase></testsuite><testsuite name='x' failures='0'>",
    "\ufffe\uffff not a character",
    "\U000e0041 tag \U0010ffff",
    "::set-output name=x::y",
    "::error file=a::b",
    "<details open><summary>x",
    "<a href='https://evil.example'>x</a>",
    "<base href='https://evil.example/'>",
    "<meta http-equiv='refresh' content='0;url=//evil.example'>",
    "<form action='//evil.example'><input name=x>",
    "\\u003cscript\\u003e",
    "`</code><b>`",
    "`a` `b` <b>`",
    "#x\" id=\"head",
    "../../../etc/passwd",
    "@mention #123 GH-1",
    "NaN",
]  # fmt: skip


def hostile_run(payload: str) -> RecordedRun:
    """A failed run that says `payload` wherever somebody else's text can stand."""
    job = "cpt_standard/basic/1"
    bad = fake.verdict(
        "metrics-post", Outcome.FAILED, expected=payload, observed=payload, title=payload, evidence=(payload,)
    )
    missing = fake.verdict("trains", Outcome.UNKNOWN, observed=payload, title=payload)
    metric = fake.e.MetricsObserved(
        at=fake.at(20), job=job, points=(fake.r.MetricPoint(step=1, values={payload: 1.0}),)
    )
    line = " ".join(payload.split())[:100]
    extra = [
        metric,
        fake.logs(job, f"[Local] Scaled batch_size: {line} -> {line} ({line})", payload),
        fake.issue(job, issue=payload, title=payload, fix=payload),
        fake.e.EvidenceMissing(at=fake.at(21), job=job, source="metrics", reason=payload),
        fake.e.LabJobObserved(
            at=fake.at(22), job=job, snapshot=fake.r.JobSnapshot(lab_job_id=payload, status="failed")
        ),
        fake.e.AlertsObserved(
            at=fake.at(23), job=job, alerts=(fake.r.Alert(id="a", type=payload, lab_job_id=None, at=fake.at(23)),)
        ),
        fake.e.PodUnconfirmed(at=fake.at(39), job=job, name="p", pod_id=None, why=payload),
        fake.e.PodObserved(at=fake.at(9), job=job, pod=fake.r.Pod(id="p", name="p", status="RUNNING", gpu=payload)),
    ]
    events = fake.job_events(
        job, Outcome.FAILED, fake.verdicts(metrics_post=bad, trains=missing), reason=payload, extra=extra
    )
    records = [fake.record(job, phase_title=payload, model=payload)]
    return fake.run(payload, events, outcome=Outcome.FAILED, records=records, notes=(payload,))
