"""Secrets in the log of a pod, and what only looks like one."""

from __future__ import annotations

import pytest

from runner.providers.redaction import MASK, Redactor

KNOWN = "s3cret-of-ours"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (f"sent {KNOWN} to the hub", f"sent {MASK} to the hub"),
        ("INTERNAL_API_KEY=0123456789abcdefgh", f"INTERNAL_API_KEY={MASK}"),
        ("{'JOB_TOKEN': 'abcdefghij_klmnop-qr', 'X': 1}", f"{{'JOB_TOKEN': '{MASK}', 'X': 1}}"),
        ("SUPABASE_SERVICE_KEY: eyJhbGciOi.eyJzdWIiOi.c2ln", f"SUPABASE_SERVICE_KEY: {MASK}"),
        ("pulling https://user:pass@host/model", f"pulling https://{MASK}@host/model"),
    ],
)
def test_secret_in_a_log_line_is_masked(line, kept):
    assert Redactor([KNOWN]).log_line(line) == kept


@pytest.mark.parametrize(
    "line",
    [
        "{'loss': '1.2', 'num_tokens': '1.234e+05', 'mean_token_accuracy': '0.123456789'}",
        "special_tokens={'eos_token': '<|im_end|>', 'pad_token': '<|pad_token_of_ours|>'}",
        "[MetricsCallback] Cloud mode enabled - will POST to http://127.0.0.1:1/api/training/local/metrics",
        "KeyError: 'chosen'",
        "Token indices sequence length is longer than the specified maximum (2048 > 1024)",
    ],
)
def test_evidence_that_speaks_of_tokens_and_keys_stays_as_it_is(line):
    assert Redactor([KNOWN]).log_line(line) == line
