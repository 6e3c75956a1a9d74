"""Uploads: detection, normalisation, refusals, attaching."""

from __future__ import annotations

import json

import pytest

from runner.local.lab_api.normalise import normalise

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
NORMAL = {"messages": CHAT}


def jsonl(*rows) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


@pytest.mark.parametrize(
    ("row", "detected", "expected"),
    [
        ({"messages": CHAT}, "chatml-wrapped", NORMAL),
        (CHAT, "chatml", NORMAL),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "sharegpt", NORMAL),
        ({"examples": CHAT}, "sharegpt-examples", NORMAL),
        ({"instruction": "q", "output": "a"}, "alpaca", NORMAL),
        ({"instruction": "q", "context": "", "response": "a"}, "alpaca", NORMAL),
        ({"instruction": "q", "instances": [{"input": "", "output": "a"}]}, "unnatural", NORMAL),
        ({"system_prompt": "", "question": "q", "response": "a"}, "openorca", NORMAL),
        ({"text": "raw"}, "standard-text", {"text": "raw"}),
        (
            {"prompt": "p", "chosen": "c", "rejected": "r", "x": 1},
            "dpo",
            {"prompt": "p", "chosen": "c", "rejected": "r"},
        ),
        ({"prompt": "p", "response": "r", "reward": 0.5}, "rlhf", {"prompt": "p", "response": "r", "reward": 0.5}),
    ],
)
def test_each_shape_is_detected_and_brought_into_one_form(row, detected, expected):
    result = normalise(jsonl(row, row))
    assert (result.detected, result.converted) == (detected, 2)
    assert [json.loads(line) for line in result.jsonl.split(b"\n")] == [expected, expected]
    assert normalise(jsonl([row, row]) if isinstance(row, dict) else jsonl(row)).converted >= 1


def test_system_and_input_are_kept():
    openorca = normalise(jsonl({"system_prompt": "s", "question": "q", "response": "a"}))
    assert json.loads(openorca.jsonl)["messages"][0] == {"role": "system", "content": "s"}
    alpaca = normalise(jsonl({"instruction": "q", "input": "more", "output": "a"}))
    assert json.loads(alpaca.jsonl)["messages"][0]["content"] == "q\n\nmore"


def test_pretty_printed_json_fails_line_by_line():
    result = normalise(json.dumps([{"text": "a"}], indent=2).encode())
    assert result.converted == 0
    assert result.errors[0] == "Line 1: Invalid JSON"


def test_bad_rows_are_dropped_and_only_the_first_25_are_named():
    rows = [{"text": "good"}] + [{"prompt": "p", "chosen": ["not a string"], "rejected": "r"}] * 30
    result = normalise(jsonl(*rows))
    assert (result.converted, len(result.errors)) == (1, 26)
    assert result.errors[0] == "Example 2: Could not normalize"
    assert result.errors[-1] == "...and 5 more normalization errors"


def test_averages_are_zero_for_preferences():
    dpo = normalise(jsonl({"prompt": "p", "chosen": "c", "rejected": "r"}))
    assert (dpo.avg_input_length, dpo.avg_output_length, dpo.estimated_tokens) == (0, 0, 0)
    chat = normalise(jsonl(*[{"instruction": "x" * 40, "output": "y" * 40}] * 10))
    assert chat.estimated_tokens == 200


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"42", b"null", b"\n\n", b'"text"'])
def test_nonsense_converts_to_nothing(content):
    assert normalise(content).converted == 0


async def test_uploaded_rows_come_back(lab, seeds):
    row = await seeds.dataset()
    assert (row["total_examples"], row["metadata"]["format_mismatch"]) == (10, False)
    page = (await lab("GET", f"/api/training/dataset/{row['id']}?offset=8&limit=5")).body
    assert ([entry["index"] for entry in page["examples"]], page["total"], page["has_more"]) == ([8, 9], 10, False)
    assert [entry["id"] for entry in (await lab("GET", "/api/training/dataset")).body["datasets"]] == [row["id"]]


async def test_text_never_matches_the_declared_raw_text(seeds):
    row = await seeds.dataset([{"text": "a"}, {"text": "b"}], format="raw_text")
    assert row["metadata"]["format_mismatch"] is True


async def test_upload_refusals(lab, upload_form):
    async def post(*args, **fields):
        return await lab("POST", "/api/training/dataset", data=upload_form(*args, **fields))

    assert (await post([{"text": "a"}], name="")).error == (400, "Missing required fields")
    bad = await post([{"nothing": 1}] * 2, filename="x.csv")
    assert bad.error == (400, "Invalid dataset")
    assert bad.body["details"][0].startswith(
        "No valid training examples could be extracted after normalization (converted 0/2)."
    )
    assert bad.body["details"][1].startswith("File extension .csv is not reliably supported")
    assert bad.body["details"][-1] == "Example 2: Could not normalize"
    assert (await post([{"text": "a"}], format="parquet")).status == 500


async def test_attach_checks_the_declared_format_only(lab, seeds):
    dpo_rows = [{"prompt": "p", "chosen": "c", "rejected": "r"}] * 2
    rlhf_config = await seeds.config(method="rlhf")
    path = f"/api/training/{rlhf_config}/attach-dataset"
    declared_dpo = await seeds.dataset(dpo_rows, format="dpo")
    assert (await lab("POST", path, json={"datasetId": declared_dpo["id"]})).error == (
        400, "RLHF requires RLHF format. Current dataset is DPO format.",
    )  # fmt: skip
    declared_rlhf = await seeds.dataset(dpo_rows, format="rlhf")
    attached = await lab("POST", path, json={"datasetId": declared_rlhf["id"]})
    assert attached.body == {"success": True, "message": "Dataset attached"}
    again = await lab("POST", path, json={"datasetId": declared_rlhf["id"]})
    assert again.body["message"] == "Dataset already attached"
    (listed,) = (await lab("GET", f"/api/training/{rlhf_config}/datasets")).body["datasets"]
    assert listed["size"] == listed["file_size_bytes"]
    detached = await lab("DELETE", path, json={"datasetId": declared_rlhf["id"]})
    assert detached.body["message"] == "Dataset detached"
    assert (await lab("GET", f"/api/training/{rlhf_config}/datasets")).body["datasets"] == []


async def test_attach_refusals(lab, seeds):
    config_id, row = await seeds.config(), await seeds.dataset()
    path = f"/api/training/{config_id}/attach-dataset"
    assert (await lab("POST", path, json={"dataset_id": row["id"]})).error == (400, "datasetId required")
    assert (await lab("POST", path, json={"datasetId": "nope"})).error == (404, "Dataset not found")
    nowhere = await lab("POST", "/api/training/nope/attach-dataset", json={"datasetId": row["id"]})
    assert nowhere.error == (404, "Config not found")
    strange = await seeds.config(method="magic")
    answer = await lab("POST", f"/api/training/{strange}/attach-dataset", json={"datasetId": row["id"]})
    assert answer.error == (500, "Failed to attach dataset")


async def test_deleted_dataset_leaves_its_configs(lab, seeds):
    config_id, row = await seeds.config(), await seeds.dataset()
    await lab("POST", f"/api/training/{config_id}/attach-dataset", json={"datasetId": row["id"]})
    deleted = await lab("DELETE", f"/api/training/dataset/{row['id']}")
    assert deleted.body == {"success": True, "message": "Dataset deleted"}
    assert (await lab("DELETE", f"/api/training/dataset/{row['id']}")).error == (404, "Dataset not found")
    assert (await lab("GET", f"/api/training/{config_id}/datasets")).body["datasets"] == []
