"""Each line of what the page promises about security."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from live_restore.page.guard import COOKIE, Guard, Rates
from live_restore.page.server import Address, guarded
from tests.page.runs import (
    HOSTILE,
    Recorded,
    client_of,
    entries,
    fetched,
    named,
    page_process,
)
from tests.support.systems import WINE

STATIC = Path(__file__).resolve().parents[2] / "live_restore" / "page" / "static"


@pytest.mark.skipif(WINE, reason="Wine tells nobody who listens where")
def test_it_listens_on_this_computer_alone_unless_told_otherwise(recorded: Recorded) -> None:
    import psutil

    with page_process(recorded) as (process, url):
        assert urlsplit(url).hostname == "127.0.0.1"
        listening = [
            each.laddr.ip
            for each in psutil.Process(process.pid).net_connections("inet")
            if each.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "192.168.0.9:8765"]
)
def test_another_host_name_is_not_served(client: TestClient, host: str) -> None:
    """A name of an attacker that leads to 127.0.0.1 is still that name (DNS rebinding)."""
    assert client.get("/api/run", headers={"Host": host}).status_code == 421
    assert client.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "localhost", "[::1]:8765"])
def test_this_computer_has_several_names(client: TestClient, host: str) -> None:
    assert client.get("/api/run", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_pages_of_other_sites_get_nothing(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/run", headers=headers).status_code == 403


def test_its_own_page_and_links_to_it_are_served(client: TestClient) -> None:
    own = {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/run", headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_acts(client: TestClient, method: str) -> None:
    for path in ("/", "/api/run", "/api/entries"):
        assert client.request(method, path).status_code == 405


def test_other_computers_need_the_token(recorded: Recorded) -> None:
    token = "s" * 32
    with client_of_network(recorded, token) as client:
        for path in ("/", "/api/run", "/api/entries", "/metrics", "/static/page.js"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        shown = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/run", headers=shown).status_code == 200
        first = client.get(f"/?token={token}", follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/")
        cookie = first.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert client.get("/api/run").status_code == 200, "with the cookie"
        assert client.get("/health", headers={"Cookie": ""}).status_code == 200


@contextmanager
def client_of_network(recorded: Recorded, token: str) -> Iterator[TestClient]:
    """Run the application as it is served to other computers."""
    app = guarded(recorded.root, recorded.journal, Address("0.0.0.0", 8765), token=token)
    with TestClient(app, base_url="http://192.168.0.9:8765") as client:
        yield client


def test_a_host_name_of_others_is_refused_on_the_network_too(recorded: Recorded) -> None:
    with client_of_network(recorded, "t" * 32) as client:
        headers = {"Host": "evil.example", "Authorization": f"Bearer {'t' * 32}"}
        assert client.get("/api/run", headers=headers).status_code == 421


def test_only_files_of_the_page_itself_may_run(client: TestClient) -> None:
    for path in ("/", "/api/run", "/static/page.js", "/nothing", "/api/stacks/x/raw/plane"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_no_inline_script_or_style_and_nothing_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        outside = [
            each
            for each in re.findall(r"https?://[^\s\"'`)]+", text)
            if not each.startswith("http://www.w3.org/")
        ]
        assert outside == [], path.name
        for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert unsafe not in text, f"{unsafe} in {path.name}: names from files are hostile"


def test_no_path_of_the_computer_leaves_it(client: TestClient, recorded: Recorded) -> None:
    secret = recorded.root.parent.name
    told = [client.get("/api/run"), client.get("/api/entries"), client.get("/api/reasons")]
    told.append(client.get("/metrics"))
    for entry in entries(client):
        told.append(client.get(f"/api/entries/{entry['id']}/report"))
        assert re.fullmatch("[0-9a-f]{16}", entry["id"])
        for stack in (entry["report"] or {"stacks": []})["stacks"]:
            assert re.fullmatch("[0-9a-f]{16}(-[0-9]+){3}", stack["id"])
    for answer in told:
        assert secret not in answer.text
        assert str(recorded.root) not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/..%2Fserver.py", "/static/%2e%2e/server.py",
        "/static/page.css/..", "/api/entries/..%2F..%2Fetc%2Fpasswd/report",
        "/api/stacks/..%2F..%2Fetc-0-0-0/raw/plane", "/api/stacks/%00-0-0-0/raw/plane",
        "/static//etc/passwd",
    ],
)  # fmt: skip
def test_no_path_is_taken_from_an_address(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_what_is_asked_for_is_bounded(client: TestClient) -> None:
    (stack,) = named(client, "cell_t000.ome.tif")["report"]["stacks"]
    url = f"/api/stacks/{stack['id']}/raw/plane"
    for query in (
        "index=-1", "index=1e3", "index=99999999999999999999", "level=9", "level=-1", "axis=t",
        "projection=mean", "y=2000000", "height=-5", "index=٣", "y=40", "x=56",
    ):  # fmt: skip
        assert client.get(f"{url}?{query}").status_code == 400, query
    assert client.get(f"{url}?index=4").status_code == 404
    for query in ("bits=12", "low=nan", "high=inf", "low=x"):
        assert client.get(f"{url}.png?{query}").status_code == 400, query
    assert client.get(f"/api/stacks/{stack['id']}/voxel?z=0&y=40&x=0").status_code == 404
    for name in (f"{stack['id']}-0", "0" * 16 + "-0-0-0", stack["id"][:-1] + "1"):
        assert client.get(f"/api/stacks/{name}/raw/plane").status_code == 404
    assert client.get(f"{url}?index={'0' * 3000}").status_code == 414


def test_a_client_that_floods_is_slowed_down() -> None:
    rates = Rates(per_s=10, burst=20)
    assert sum(rates.allows("flood", 0.0) for _ in range(1000)) == 20
    assert rates.allows("another", 0.0)
    assert sum(rates.allows("flood", 1.0) for _ in range(1000)) == 10
    for number in range(5000):  # nor does it fill the memory with addresses
        rates.allows(str(number), 2.0)
    assert len(rates._buckets) <= 1000


def test_a_flood_is_refused_with_429(recorded: Recorded) -> None:
    with client_of(recorded.root, recorded.journal) as client:
        assert isinstance(client.app, Guard)
        client.app._rates = Rates(per_s=0.01, burst=5)
        answers = [client.get("/api/run").status_code for _ in range(5)]
        began = time.monotonic()
        answers += [client.get("/api/run").status_code for _ in range(2)]
        assert time.monotonic() - began > 0.9, "who floods waits for each refusal"
    assert answers == [200] * 5 + [429] * 2


def test_names_and_metadata_of_files_are_text(client: TestClient) -> None:
    entry = named(client, f"{HOSTILE}.ome.tif")
    (stack,) = entry["report"]["stacks"]
    assert stack["channel_name"] == "<b>bold</b>"
    answer = client.get("/api/entries")
    assert answer.headers["content-type"] == "application/json"
    assert HOSTILE not in client.get("/").text


def test_oversized_headers_are_refused(recorded: Recorded) -> None:
    with page_process(recorded) as (_, url):
        address = urlsplit(url)
        with socket.create_connection((str(address.hostname), address.port), timeout=20) as raw:
            head = f"GET /api/run HTTP/1.1\r\nHost: {address.netloc}\r\nX-Long: "
            answer = b""
            try:
                raw.sendall(head.encode() + b"x" * 3_000_000)
                answer = raw.recv(100)
            except ConnectionError:
                pass  # closed before all of it was sent
        assert answer == b"" or b" 400 " in answer
        assert fetched(f"{url}health")["status"] == "ok"
