"""Signing in at MCP servers: the official MCP package for Python is server and authorization server, Frontdesk the client."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

SERVER = Path(__file__).parent / "mcp_oauth_server.py"
PROVIDER = "model-context-protocol"
TOOLS = {"look": {"effect": "none", "risk": "read"}}

# A little more than the time in which no token is renewed twice for a refusal.
RENEWED_S = 5.5


@pytest.fixture(scope="module")
def desk(another_frontdesk):
    return another_frontdesk(tools=[f'{{ id: {PROVIDER}, type: mcp, config: {{ inside: ["127.0.0.1"], timeout_s: 30 }} }}'])


@pytest.fixture
def serve(program):
    return lambda seconds=3600: program(sys.executable, SERVER, seconds)


def register(desk, server, group="shop", **more):
    body = {"toolgroup_id": group, "provider_id": PROVIDER, "mcp_endpoint": {"uri": server.url}, **more}
    return desk.http.post("/v1/toolgroups", json=body)


def authorize(desk, group="shop"):
    answer = desk.http.post(f"/v1/toolgroups/{group}/authorize")
    assert answer.status_code == 200, answer.text
    return answer.json()


def browser(**more):
    """With no key of ours."""
    return httpx.Client(trust_env=False, **more)


def say_yes(a_browser, desk, url):
    """As the form of our page does."""
    return a_browser.post(url, headers={"origin": desk.url})


def visit(desk, group="shop"):
    """As a person who reads our page, goes on, is sent from here to there, and back."""
    url = authorize(desk, group)["url"]
    with browser(follow_redirects=True) as person:
        page = person.get(url)
        assert page.status_code == 200 and "<form method=\"post\">" in page.text, page.text
        return say_yes(person, desk, url)


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

    begun = authorize(desk)
    with browser() as person:
        page = person.get(begun["url"])
        assert page.status_code == 200 and all(f"<b>{name}</b>" in page.text for name in ("default", "shop", server.url)), page.text
        # Nobody is sent past it by somebody else's page, or by following the address alone.
        assert person.post(begun["url"], headers={"origin": "https://evil.example"}).status_code == 400
        assert person.post(begun["url"]).status_code == 400 and not person.cookies
        sent = say_yes(person, desk, begun["url"])
        assert sent.status_code == 303, sent.text
        kept = sent.headers["set-cookie"]
        assert "HttpOnly" in kept and "SameSite=Lax" in kept
        asked = parse_qs(urlsplit(sent.headers["location"]).query)
        assert asked["code_challenge_method"] == ["S256"] and asked["resource"] == [server.url]
        assert asked["redirect_uri"] == [begun["redirect_uri"]] and asked["scope"] == ["shop"]
        back = person.get(sent.headers["location"]).headers["location"]
        assert back.startswith(begun["redirect_uri"] + "?")
        # Whoever else has that address is not who said yes.
        with browser() as other:
            assert "same browser" in other.get(back).text
        landed = person.get(back)
        assert landed.status_code == 200 and "let in" in landed.text, landed.text
        # Whoever comes back is taken once.
        again = person.get(back)
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
    server = serve()
    register(desk, server)
    assert visit(desk).status_code == 200
    before = told(server, "/count", "GET")["refresh_token"]
    told(server, "/end")
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: invoke(desk, "look", id=str(n))["content"], range(8)))
    assert [text.split(" ")[0] for text in said] == [str(n) for n in range(8)]
    assert told(server, "/count", "GET")["refresh_token"] == before + 1
    again = desk.again()
    assert invoke(again, "look", id="9")["content"].startswith("9 is shipped")

    # Refused once, it is renewed and called again; refused for good, a person is needed and reads what to do. What was
    # renewed a moment ago is not renewed again, call as they may.
    told(server, "/end")
    time.sleep(RENEWED_S)
    assert invoke(again, "look", id="9")["content"].startswith("9 is shipped")
    told(server, "/end")
    renewed = told(server, "/count", "GET")["refresh_token"]
    assert "which are new" in invoke(again, "look", id="1")["error_message"]
    assert told(server, "/count", "GET")["refresh_token"] == renewed
    time.sleep(RENEWED_S)
    assert invoke(again, "look", id="1")["content"].startswith("1 is shipped")
    told(server, "/revoke")
    time.sleep(RENEWED_S)
    refused = invoke(again, "look", id="1")["error_message"]
    assert "/v1/toolgroups/shop/authorize" in refused and "ref-" not in refused and "acc-" not in refused
    # What the server said is for whoever runs it.
    assert "invalid_grant" not in refused
    standing_now = standing(again)
    assert standing_now["status"] == "needed" and "invalid_grant" in standing_now["problem"], standing_now
    assert visit(again).status_code == 200
    assert invoke(again, "look", id="2")["content"].startswith("2 is shipped")
    changes = again.http.get("/v1/toolgroup-changes", params={"toolgroup_id": "shop"}).json()["data"]
    noted = [change["action"] for change in changes if change["action"] != "registered"]
    assert noted[:3] == ["authorized", "deauthorized", "authorized"] and changes[0]["key_id"].startswith("key_"), changes
    again.http.delete("/v1/toolgroups/shop")


def test_a_token_is_renewed_before_it_ends(desk, serve):
    desk = desk.again()
    server = serve(8)
    register(desk, server)
    assert visit(desk).status_code == 200
    # Less than a quarter of its time is left, and it is good still.
    time.sleep(6.2)
    assert invoke(desk, "look", id="1")["content"].startswith("1 is shipped")
    assert told(server, "/count", "GET") == {"authorization_code": 1, "refresh_token": 1}
    desk.http.delete("/v1/toolgroups/shop")


def test_who_says_no_or_comes_from_nowhere_is_told_so(desk, serve):
    desk = desk.again()
    register(desk, serve())
    begun = authorize(desk)
    state, place = parse_qs(urlsplit(begun["url"]).query)["state"][0], begun["redirect_uri"]
    with browser() as person:
        assert say_yes(person, desk, begun["url"]).status_code == 303
        stranger = person.get(place, params={"state": "x", "code": "y"})
        assert stranger.status_code == 400
        said = {"state": state, "error": "access_denied", "error_description": "<b>not you</b>"}
        refused = person.get(place, params=said)
        assert refused.status_code == 400 and "&lt;b&gt;not you" in refused.text and "<b>" not in refused.text
        assert "access_denied" in standing(desk)["problem"]
        code = person.get(place, params={"state": state, "code": "y"})
        assert code.status_code == 400 and "used already" in code.text
    # A group that is another by now is let in by nobody who was sent for the one before.
    begun = authorize(desk)
    with browser(follow_redirects=True) as person:
        desk.http.delete("/v1/toolgroups/shop")
        assert say_yes(person, desk, begun["url"]).status_code == 400
    assert desk.http.post("/v1/toolgroups/none/authorize").status_code == 404
    assert desk.http.post("/v1/toolgroups/shop/other").json()["error"]["code"] == "unknown_route"
    desk.http.delete("/v1/toolgroups/shop")
