"""Signing in at MCP servers: the official MCP package for Python is server and authorization server, Frontdesk the client."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

SERVER = Path(__file__).parent / "mcp_oauth_server.py"
PROVIDER = "model-context-protocol"
TOOLS = {"look": {"effect": "none", "risk": "read"}}


@pytest.fixture(scope="module")
def desk(another_frontdesk):
    return another_frontdesk(tools=[f'{{ id: {PROVIDER}, type: mcp, config: {{ inside: ["127.0.0.1"], timeout_s: 5 }} }}'])


@pytest.fixture
def serve(program):
    return lambda seconds=3600: program(sys.executable, SERVER, seconds)


def register(desk, server, group="shop", **more):
    body = {"toolgroup_id": group, "provider_id": PROVIDER, "mcp_endpoint": {"uri": server.url}, **more}
    return desk.http.post("/v1/toolgroups", json=body)


def authorize(desk, group="shop"):
    answer = desk.http.post(f"/v1/toolgroups/{group}/authorize")
    assert answer.status_code == 200, answer.text
    return answer.json()["url"]


def visit(url):
    """As a browser that is sent from here to there and back, with no key of ours."""
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        return browser.get(url)


def invoke(desk, tool, **kwargs):
    answer = desk.http.post("/v1/tool-runtime/invoke", json={"tool_name": tool, "kwargs": kwargs})
    assert answer.status_code == 200, answer.text
    return answer.json()


def standing(desk, group="shop"):
    return desk.http.get(f"/v1/toolgroups/{group}").json()["authorization"]


def told(server, path, method="POST"):
    return httpx.request(method, server.url.replace("/mcp", path), trust_env=False).json()


def test_a_group_waits_for_a_person_and_is_let_in_by_one(desk, serve):
    server = serve()
    registered = register(desk, server, tools=TOOLS)
    assert registered.status_code == 200, registered.text
    assert registered.json()["authorization"] == {"status": "needed", "problem": "nobody has signed in yet"}
    assert desk.http.get("/v1/tools", params={"toolgroup_id": "shop"}).json()["data"] == []

    url = authorize(desk)
    asked = parse_qs(urlsplit(url).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["resource"] == [server.url]
    assert asked["redirect_uri"] == [f"{desk.url}/v1/toolgroup-sign-in"] and asked["scope"] == ["shop"]
    landed = visit(url)
    assert landed.status_code == 200 and "let in" in landed.text, landed.text
    # Whoever comes back is taken once.
    again = visit(str(landed.url))
    assert again.status_code == 400 and "used already" in again.text
    assert standing(desk) == {"status": "given"}
    tools = {tool["identifier"]: tool for tool in desk.http.get("/v1/tools", params={"toolgroup_id": "shop"}).json()["data"]}
    # What was said of tools that nobody could list holds now.
    assert set(tools) == {"look", "who"} and tools["look"]["metadata"]["risk"] == "read"
    assert invoke(desk, "look", id="7")["content"].startswith("7 is shipped")
    # The token goes to the server and to nobody else.
    assert invoke(desk, "who")["content"].splitlines()[0] == "Bearer [secret]"
    assert "acc-" not in desk.http.get("/v1/toolgroups/shop").text
    # Registered again it stands where it stood.
    assert register(desk, server).json()["authorization"] == {"status": "given"}
    desk.http.delete("/v1/toolgroups/shop")


def test_tokens_are_renewed_once_for_many_and_outlive_the_process(desk, serve):
    # So short that every call finds them at their end.
    server = serve(20)
    register(desk, server)
    assert visit(authorize(desk)).status_code == 200
    before = told(server, "/count", "GET")["refresh_token"]
    told(server, "/end")
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: invoke(desk, "look", id=str(n))["content"], range(8)))
    assert [text.split(" ")[0] for text in said] == [str(n) for n in range(8)]
    assert told(server, "/count", "GET")["refresh_token"] > before
    again = desk.again()
    assert invoke(again, "look", id="9")["content"].startswith("9 is shipped")

    # Refused once, it is renewed and called again; refused for good, a person is needed and reads what to do.
    told(server, "/end")
    assert invoke(again, "look", id="1")["content"].startswith("1 is shipped")
    told(server, "/revoke")
    refused = invoke(again, "look", id="1")["error_message"]
    assert "/v1/toolgroups/shop/authorize" in refused and "ref-" not in refused and "acc-" not in refused
    standing_now = standing(again)
    assert standing_now["status"] == "needed" and "invalid_grant" in standing_now["problem"], standing_now
    assert visit(authorize(again)).status_code == 200
    assert invoke(again, "look", id="2")["content"].startswith("2 is shipped")
    again.http.delete("/v1/toolgroups/shop")


def test_who_says_no_or_comes_from_nowhere_is_told_so(desk, serve):
    desk = desk.again()
    register(desk, serve())
    back = parse_qs(urlsplit(authorize(desk)).query)
    said = {"state": back["state"][0], "error": "access_denied", "error_description": "<b>not you</b>"}
    refused = httpx.get(f"{desk.url}/v1/toolgroup-sign-in", params=said, trust_env=False)
    assert refused.status_code == 400 and "&lt;b&gt;not you" in refused.text and "<b>" not in refused.text
    assert "access_denied" in standing(desk)["problem"]
    stranger = httpx.get(f"{desk.url}/v1/toolgroup-sign-in", params={"state": "x", "code": "y"}, trust_env=False)
    assert stranger.status_code == 400
    code = httpx.get(f"{desk.url}/v1/toolgroup-sign-in", params={"state": back["state"][0], "code": "y"}, trust_env=False)
    assert code.status_code == 400 and "used already" in code.text
    assert desk.http.post("/v1/toolgroups/none/authorize").status_code == 404
    assert desk.http.post("/v1/toolgroups/shop/other").json()["error"]["code"] == "unknown_route"
    desk.http.delete("/v1/toolgroups/shop")
