"""`/mcp`: the official MCP package for Python asks, by each way it has of beginning."""

import asyncio
import json

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

NAME = "mcp desk"


@pytest.fixture(scope="module")
def agent(frontdesk):
    config = {"name": NAME, "model": "up/scripted", "instructions": ""}
    made = frontdesk.http.post("/v1/agents", json={"agent_config": config})
    assert made.status_code == 200, made.text
    yield made.json()["agent_id"]
    frontdesk.http.delete(f"/v1/agents/{made.json()['agent_id']}")


def with_client(frontdesk, work, mode="auto", key=None):
    """Runs `work` with a client that has begun as `mode` says."""

    async def run():
        headers = {"authorization": f"Bearer {key or frontdesk.key}"}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
            transport = streamable_http_client(f"{frontdesk.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await work(client)

    return asyncio.run(run())


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_an_agent_is_asked_and_goes_on_in_its_conversation(frontdesk, scripted_server, agent, mode):
    scripted_server.reset()
    scripted_server.script([{"reply": {"text": "14 days"}}, {"reply": {"text": "yes"}}])
    told = []

    async def news(progress, total, message):
        told.append((progress, message))

    async def work(client):
        # One that pins the newest revision asks nothing before its first request.
        assert mode == "2026-07-28" or client.server_info.name == "frontdesk"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "message" in tools["ask_mcp_desk"].input_schema["properties"]
        first = await client.call_tool("ask_mcp_desk", {"message": "returns?"}, progress_callback=news)
        conversation = first.structured_content["conversation"]
        second = await client.call_tool("ask_mcp_desk", {"message": "sure?", "conversation": conversation})
        wrong = await client.call_tool("ask_mcp_desk", {"message": "x", "conversation": "sess_none"})
        return client.protocol_version, first, second, wrong

    version, first, second, wrong = with_client(frontdesk, work, mode)
    assert version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
    assert (first.content[0].text, first.is_error) == ("14 days", False)
    assert second.structured_content == {**first.structured_content, "answer": "yes", "turn": second.structured_content["turn"]}
    assert wrong.is_error and "sess_none" in wrong.content[0].text
    assert told and told[0][1] == "thinking" and [n for n, _ in told] == sorted(n for n, _ in told)
    # The second message stood behind the first.
    asked = json.loads(scripted_server.requests()[-1]["body"])["messages"]
    assert [m["content"] for m in asked if m["role"] == "user"] == ["returns?", "sure?"]


def test_an_agent_that_refuses_says_so(frontdesk, scripted_server, agent):
    scripted_server.reset()
    scripted_server.script([{"reply": {"refusal": "I will not."}}])

    async def work(client):
        await client.list_tools()
        return await client.call_tool("ask_mcp_desk", {"message": "poach it"})

    answer = with_client(frontdesk, work)
    assert (answer.content[0].text, answer.structured_content["answer"]) == ("I will not.", "I will not.")


def test_a_key_that_is_none_is_refused_and_the_client_is_told_where_to_look(frontdesk):
    refused = httpx.post(f"{frontdesk.url}/mcp", json={}, headers={"authorization": "Bearer nothing"}, trust_env=False)
    assert refused.status_code == 401
    place = refused.headers["www-authenticate"].split('resource_metadata="')[1].rstrip('"')
    # On a connection of its own: one whose request was refused unread is closed.
    metadata = httpx.get(place, trust_env=False).json()
    assert metadata["resource"] == f"{frontdesk.url}/mcp"
