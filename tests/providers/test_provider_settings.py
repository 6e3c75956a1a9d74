from __future__ import annotations

import pytest

from runner.errors import SpecError
from runner.providers.settings import Settings, read_env_file


@pytest.fixture
def folder_with(tmp_path):
    def make(text):
        (tmp_path / ".env").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def codes_of(caught):
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def test_without_anything_the_real_services_are_meant():
    settings = Settings.load({})
    assert settings.runpod_url == "https://api.runpod.io/v2"
    assert settings.graphql_url == "https://api.runpod.io/graphql"
    assert settings.lab_url == "https://finetunelab.ai"
    assert settings.runpod_key is None


def test_the_environment_wins_over_the_file(folder_with):
    folder = folder_with("RUNPOD_API_KEY=from-file\nHF_TOKEN=hf-file\n")
    settings = Settings.load({"RUNPOD_API_KEY": "from-env", "HF_TOKEN": ""}, folder)
    assert settings.runpod_key.get_secret_value() == "from-env"
    assert settings.hf_token.get_secret_value() == "hf-file"


def test_env_files_are_read_in_their_usual_forms(folder_with):
    folder = folder_with(
        "\ufeff# comment\n\nexport A=1\nB = two words # note\nC='single # kept'\nD=\"x\" # note\nE=\nF=a#b\nG=${A}\n"
    )
    assert read_env_file(folder / ".env") == {
        "A": "1", "B": "two words", "C": "single # kept", "D": "x", "E": "", "F": "a#b", "G": "${A}",
    }  # fmt: skip


def test_a_line_that_is_no_assignment_is_reported_without_being_quoted(folder_with):
    folder = folder_with("A=1\nrpa_pasted_key_alone\nB=2\n=x\n")
    with pytest.raises(SpecError) as caught:
        Settings.load({}, folder)
    assert [diagnostic.span.line for diagnostic in caught.value.diagnostics] == [2, 4]
    assert "pasted" not in str(caught.value)


@pytest.mark.parametrize(("content", "code"), [(b"\xff\xfe=1", "env.unreadable"), (b"A=1\n" * 30_000, "env.too-large")])
def test_a_file_that_is_none_is_reported(tmp_path, content, code):
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        Settings.load({}, tmp_path)
    assert codes_of(caught) == [code]


@pytest.mark.parametrize(
    ("url_name", "key_name"),
    [
        ("RUNSPEC_RUNPOD_URL", "RUNPOD_API_KEY"),
        ("RUNSPEC_RUNPOD_GRAPHQL_URL", "RUNPOD_API_KEY"),
        ("FINETUNE_LAB_API_URL", "FINETUNE_LAB_JWT"),
        ("SUPABASE_URL", "FINETUNE_LAB_REFRESH_TOKEN"),
        ("RUNSPEC_TRAINER_URL", "HF_TOKEN"),
    ],
)
def test_a_file_from_elsewhere_cannot_send_our_key_to_its_own_host(folder_with, url_name, key_name):
    folder = folder_with(f"{url_name}=https://evil.example\n")
    with pytest.raises(SpecError) as caught:
        Settings.load({key_name: "secret-of-ours"}, folder)
    assert codes_of(caught) == ["env.redirects-key"]
    assert "secret-of-ours" not in str(caught.value)
    Settings.load({key_name: "secret-of-ours", url_name: "https://staging.example"}, folder)
    Settings.load({}, folder_with(f"{url_name}=https://staging.example\n{key_name}=its-own\n"))


def test_another_runpod_is_also_asked_for_the_balance():
    settings = Settings.load({"RUNSPEC_RUNPOD_URL": "http://127.0.0.1:9/v2/"})
    assert (settings.runpod_url, settings.graphql_url) == ("http://127.0.0.1:9/v2", "http://127.0.0.1:9/graphql")


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "nonsense", "http://api.example", "https://u:p@x.example", "https://x.example?a=1", "https://x\x00y",
     "https://[::1", "https://x:port", "http://127.0.0.1.evil.example", "https://x y"],
)  # fmt: skip
def test_addresses_that_would_leak_or_fail_are_refused(url):
    with pytest.raises(SpecError) as caught:
        Settings.load({"FINETUNE_LAB_API_URL": url})
    assert codes_of(caught) == ["env.bad-url"]


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "https://x.example/a"])
def test_addresses_on_this_machine_need_no_https(url):
    assert Settings.load({"FINETUNE_LAB_API_URL": url}).lab_url == url


def test_a_key_with_a_line_break_is_reported_and_not_shown():
    with pytest.raises(SpecError) as caught:
        Settings.load({"RUNPOD_API_KEY": "rpa_one\nrpa_two", "HF_TOKEN": "schlüssel"})
    assert codes_of(caught) == ["env.bad-secret", "env.bad-secret"]
    assert "rpa_" not in str(caught.value)


def test_no_secret_is_in_the_repr():
    names = ("RUNPOD_API_KEY", "FINETUNE_LAB_API_KEY", "FINETUNE_LAB_JWT", "FINETUNE_LAB_INTERNAL_KEY", "HF_TOKEN",
             "FINETUNE_LAB_REFRESH_TOKEN", "SUPABASE_ANON_KEY")  # fmt: skip
    assert "canary" not in repr(Settings.load({name: f"canary-{name}" for name in names}))


def test_what_the_local_server_prints_is_enough():
    ready = {"runpod_url": "http://127.0.0.1:5/v2", "lab_url": "http://127.0.0.1:6", "runpod_api_key": "rpa_x",
             "lab_api_key": "wak_x", "lab_jwt": "a.b.c", "lab_internal_key": "i", "predict_model": "m"}  # fmt: skip
    settings = Settings.of_local(ready)
    assert (settings.runpod_url, settings.graphql_url) == ("http://127.0.0.1:5/v2", "http://127.0.0.1:5/graphql")
    assert settings.lab_jwt.get_secret_value() == "a.b.c"
