"""An embedded cloud whose pods play scenarios on a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData

from runner.local.clock import VirtualClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.pods import ContainerSpec
from runner.local.runpod_api import RunPodSettings
from runner.local.scripted import Scenario, ScriptedPods, idle

SFT_ROWS = [
    {"messages": [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": "Answer."}]}
    for n in range(10)
]
CONFIG: dict[str, Any] = {
    "model": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
    "tokenizer": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
    "training": {
        "method": "sft", "num_epochs": 3, "batch_size": 4, "gradient_accumulation_steps": 8, "learning_rate": 2e-4,
        "use_lora": True, "lora_r": 16, "warmup_steps": 0, "ppo_epochs": 2, "beta": 0.3,
    },
    "data": {"strategy": "standard", "train_split": 0.95},
    "seed": 42,
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> tuple[int, str]:
        """Status and the lab's error text, the pair that its contract fixes."""
        return self.status, self.body["error"]


class Api:
    """Requests to one server with one set of credentials."""

    def __init__(self, session: ClientSession, base: str, headers: Mapping[str, str]) -> None:
        self._session = session
        self.base = base
        self.headers = dict(headers)

    def with_headers(self, **headers: str) -> Api:
        """The same server with these headers only."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Api(self._session, self.base, named)

    async def __call__(self, method: str, path: str, **request: Any) -> Answer:
        headers = {**self.headers, **request.pop("headers", {})}
        async with self._session.request(method, self.base + path, headers=headers, **request) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.text(errors="replace"))


class Stage:
    """Tells scripted pods what to play, also after the cloud has started."""

    def __init__(self) -> None:
        self.casting: Callable[[ContainerSpec], Scenario] = idle
        self.specs: list[ContainerSpec] = []

    def __call__(self, spec: ContainerSpec) -> Scenario:
        self.specs.append(spec)
        return self.casting(spec)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def trainer_file(tmp_path: Path) -> Path:
    """A trainer that reports one point and says that it is done."""
    path = tmp_path / "trainer.py"
    path.write_text("print('hello from the trainer')\n")
    return path


@pytest.fixture
async def cloud(tmp_path: Path, clock: VirtualClock, stage: Stage, trainer_file: Path) -> AsyncIterator[EmbeddedCloud]:
    options = CloudOptions(
        backend=ScriptedPods(clock, stage),
        clock=clock,
        trainer=trainer_file,
        runpod=RunPodSettings(balance_usd=100, offered=lambda gpu_id: gpu_id != "NVIDIA H100 PCIe"),
    )
    async with EmbeddedCloud(tmp_path / "state", options) as cloud:
        yield cloud


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
def runpod(cloud: EmbeddedCloud, session: ClientSession) -> Api:
    bearer = {"Authorization": f"Bearer {cloud.endpoints.runpod_api_key}"}
    return Api(session, cloud.endpoints.runpod_url, bearer)


@pytest.fixture
def lab(cloud: EmbeddedCloud, session: ClientSession) -> Api:
    """The lab as its user with a session."""
    return Api(session, cloud.endpoints.lab_url, {"Authorization": f"Bearer {cloud.endpoints.lab_jwt}"})


def dataset_form(rows: list[Any] | bytes, **fields: str) -> FormData:
    content = rows if isinstance(rows, bytes) else "\n".join(json.dumps(row) for row in rows).encode()
    form = FormData()
    form.add_field("file", content, filename=fields.pop("filename", "data.jsonl"))
    for name, value in {"name": "rows", "format": "chatml", **fields}.items():
        form.add_field(name, value)
    return form


@dataclass
class Seeds:
    """Makes the things that a deployment needs."""

    lab: Api

    async def config(self, **training: Any) -> str:
        config = {**CONFIG, "training": {**CONFIG["training"], **training}}
        wanted = {"name": "n", "template_type": "sft_standard", "config_json": config}
        answer = await self.lab("POST", "/api/training", json=wanted)
        assert answer.status == 201, answer.text
        return str(answer.body["config"]["id"])

    async def dataset(self, rows: list[Any] | None = None, **fields: str) -> dict[str, Any]:
        answer = await self.lab("POST", "/api/training/dataset", data=dataset_form(rows or SFT_ROWS, **fields))
        assert answer.status == 200, answer.text
        row: dict[str, Any] = answer.body["dataset"]
        return row

    async def attached(self, **training: Any) -> str:
        """A config with a dataset that fits."""
        config_id, dataset = await self.config(**training), await self.dataset()
        path = f"/api/training/{config_id}/attach-dataset"
        answer = await self.lab("POST", path, json={"datasetId": dataset["id"]})
        assert answer.status == 200, answer.text
        return config_id

    async def deployment(self, **request: Any) -> dict[str, Any]:
        """A deployed job, as the lab answered."""
        config_id = await self.attached()
        body = {"training_config_id": config_id, "gpu_type": "RTX_A4000", **request}
        answer = await self.lab("POST", "/api/training/deploy/runpod", json=body)
        assert answer.status == 200, answer.text
        reply: dict[str, Any] = answer.body
        return reply


@pytest.fixture
def seeds(lab: Api) -> Seeds:
    return Seeds(lab)


@pytest.fixture
def upload_form() -> Callable[..., FormData]:
    return dataset_form


@pytest.fixture
def api_for(session: ClientSession) -> Callable[..., Api]:
    """The lab of a cloud that the test started itself, as its user or with other headers."""

    def make(cloud: EmbeddedCloud, **headers: str) -> Api:
        own = Api(session, cloud.endpoints.lab_url, {"Authorization": f"Bearer {cloud.endpoints.lab_jwt}"})
        return own.with_headers(**headers) if headers else own

    return make


@pytest.fixture
def seeds_for(session: ClientSession) -> Callable[[EmbeddedCloud], Seeds]:
    """Seeds of a cloud that the test started itself."""

    def make(cloud: EmbeddedCloud) -> Seeds:
        headers = {"Authorization": f"Bearer {cloud.endpoints.lab_jwt}"}
        return Seeds(Api(session, cloud.endpoints.lab_url, headers))

    return make
