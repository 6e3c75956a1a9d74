"""`runspec serve`: pages of recorded runs that follow a run, for this machine only, changing nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
import fake_runs as fake
from pages import CHROMIUM, FLAGS

from runner.cli import live_pages
from runner.cli.live_pages import HEADERS, is_local, live_app
from runner.store.store import Store

ROUTES = ["/", "/runs/7f3a", "/events", "/nothing"]
FOREIGN_HOSTS = [
    "evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "localhost.:{port}", "127.0.0.1.:{port}",
    "127.0.0.1:1", "127.0.0.1.evil.example:{port}", "[::1]:{port}", "0.0.0.0:{port}", "2130706433:{port}",
    "0x7f.1:{port}",
]  # fmt: skip


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    with Store.open(tmp_path) as store:
        for run in (fake.passing(), fake.failing(day=1)):
            await store.journal(run.run).append(*run.events, durable=True)
    found = TestServer(live_app(tmp_path), host="127.0.0.1")
    await found.start_server()
    yield found
    await found.close()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_the_list_links_every_run_and_its_page_is_the_report(server, client):
    async with client.get(server.make_url("/")) as answer:
        text = await answer.text()
    assert text.index("8c1d") < text.index("7f3a")
    async with client.get(server.make_url("/runs/7f3a")) as answer:
        text = await answer.text()
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "6 of 6" not in text
    assert "✓ Passed · 5 of 5 criteria met" in text
    assert "data-events" not in text


async def test_an_unknown_run_is_a_plain_404(server, client):
    async with client.get(server.make_url("/runs/nope")) as answer:
        assert (answer.status, answer.content_type) == (404, "text/plain")


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize("route", ROUTES)
async def test_another_hosts_name_is_refused_on_every_route(server, client, route, host):
    headers = {"Host": host.format(port=server.port)}
    async with client.get(server.make_url(route), headers=headers) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("route", ROUTES)
async def test_another_origin_is_refused_on_every_route(server, client, route):
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ):
        async with client.get(server.make_url(route), headers=headers) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "lines",
    [
        "GET / HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n",
        "GET / HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: {own}\r\n",
        "GET http://{own}/ HTTP/1.1\r\nHost: evil.example\r\n",
        "GET / HTTP/1.0\r\n",
    ],
)
async def test_ambiguous_requests_are_refused(server, lines):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    own = f"127.0.0.1:{server.port}"
    writer.write(f"{lines.format(own=own)}Connection: close\r\n\r\n".encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    await writer.wait_closed()
    assert status in (b"403", b"400")


async def test_it_is_read_only(server, client):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        async with client.request(method, server.make_url("/runs/7f3a")) as answer:
            assert answer.status == 405


async def test_a_run_that_goes_on_says_when_it_changed(tmp_path, client, monkeypatch):
    monkeypatch.setattr(live_pages, "POLL_S", 0.01)
    going = fake.run("90e5", fake.job_events("cpt_standard/basic/1", None), outcome=None)
    with Store.open(tmp_path) as store:
        journal = store.journal("90e5")
        await journal.append(*going.events[:3], durable=True)
        server = TestServer(live_app(tmp_path), host="127.0.0.1")
        await server.start_server()
        async with client.get(server.make_url("/runs/90e5")) as answer:
            text = await answer.text()
        assert "… Running" in text.replace('<span aria-hidden="true">…</span> ', "… ")
        assert 'data-events="/events"' in text
        assert "connect-src &#39;self&#39;" in text
        async with client.get(server.make_url("/events")) as stream:
            assert await stream.content.readline() == b"retry: 1000\n"
            await stream.content.readline()
            await journal.append(*going.events[3:], durable=True)
            assert await asyncio.wait_for(stream.content.readline(), 10) == b"event: changed\n"
        await server.close()


async def test_the_filters_of_a_live_page_count_what_is_on_it(tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install it, or name it in CHROMIUM")
    async_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    jobs = [fake.job_events(f"{name}_standard/basic/1", judged=fake.verdicts()) for name in ("cpt", "dpo")]
    going = fake.run("90e5", *jobs)
    with Store.open(tmp_path) as store:
        journal = store.journal("90e5")
        await journal.append(*going.events[:3], durable=True)
        server = TestServer(live_app(tmp_path), host="127.0.0.1")
        await server.start_server()
        async with async_api.async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            page = await browser.new_page()
            await page.goto(str(server.make_url("/runs/90e5")))
            assert await page.locator(".tools a").all_inner_texts() == ["all 2", "… running 1", "– not started 1"]
            await page.locator("#search").fill("standard")
            await journal.append(*going.events[3:], durable=True)
            await page.get_by_text("the run has ended").wait_for()
            assert await page.locator(".tools a").all_inner_texts() == ["all 2", "✓ passed 2"]
            assert await page.locator("#search").input_value() == "standard"
            assert await page.locator("#search").evaluate("node => node === document.activeElement")
            await browser.close()
        await server.close()


async def test_a_reader_that_goes_away_is_no_error(server, client, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(live_pages, "POLL_S", 0.01)
    stream = await client.get(server.make_url("/events"))
    await stream.content.readline()
    stream.close()
    with Store.open(tmp_path) as store:
        for number in range(20):
            again = fake.passing(f"aaa{number}")
            await store.journal(again.run).append(*again.events, durable=True)
            await asyncio.sleep(0.01)
    assert caplog.records == []


async def test_a_killed_run_is_called_interrupted(tmp_path, client):
    going = fake.run("dead", fake.job_events("cpt_standard/basic/1", None), outcome=None)
    with Store.open(tmp_path) as store:
        await store.journal("dead").append(*going.events, durable=True)
    (tmp_path / "lock").unlink()
    server = TestServer(live_app(tmp_path), host="127.0.0.1")
    await server.start_server()
    async with client.get(server.make_url("/runs/dead")) as answer:
        assert "Interrupted" in await answer.text()
    await server.close()


async def test_an_empty_state_directory_says_how_to_make_a_run(tmp_path, client):
    server = TestServer(live_app(tmp_path), host="127.0.0.1")
    await server.start_server()
    async with client.get(server.make_url("/")) as answer:
        assert "runspec specs/cpt.yaml" in await answer.text()
    await server.close()


def test_every_answer_forbids_framing_and_caching():
    assert HEADERS["X-Frame-Options"] == "DENY"
    assert HEADERS["Cache-Control"] == "no-store"
    assert is_local(["127.0.0.1:80"], 80, "/")
    assert is_local(["localhost"], 80, "/")
    assert not is_local([], 80, "/")
