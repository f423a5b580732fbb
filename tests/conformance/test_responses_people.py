"""Responses that wait for people, through the official Python client."""

from pathlib import Path

import pytest

MODEL = "up/scripted"


@pytest.mark.parametrize("approve", [True, False])
def test_a_response_in_the_background_waits_for_a_person_and_streams_on(frontdesk, openai_client, scripted, approve):
    component = (Path(__file__).parents[2] / "services/gateway/demo/tools/shop-tools.wasm").read_bytes()
    file = frontdesk.http.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("shop-tools.wasm", component)}).json()
    group = {"toolgroup_id": "waits", "provider_id": "wasm", "args": {"component": file["id"], "grants": ["kv"]}}
    assert frontdesk.http.post("/v1/toolgroups", json=group).is_success
    config = {"model": MODEL, "instructions": "", "name": "waiter", "toolgroups": ["waits"], "frontdesk": {"approvals": [{"tool": "start_return"}]}}
    agent = frontdesk.http.post("/v1/agents", json={"agent_config": config}).json()["agent_id"]
    scripted.script([
        {"reply": {"tool_call": {"id": "call_1", "name": "start_return", "arguments": {"order_id": "99999"}}}},
        {"reply": {"text": "It says {tool_content}"}},
    ])  # fmt: skip
    try:
        events = openai_client.responses.create(model="agent/waiter", input="send it back", background=True, stream=True)
        seen = [next(events)]
        response = seen[0].response.id
        while not (open_ := [one for one in frontdesk.http.get("/v1/approvals").json()["data"] if one["turn_id"] == response]):
            pass
        assert (open_[0]["tool"], open_[0]["cause"]) == ("start_return", "rule")
        assert openai_client.responses.retrieve(response).status == "in_progress"
        said = {"approve": approve} | ({} if approve else {"reason": "no receipt"})
        assert frontdesk.http.post(f"/v1/approvals/{open_[0]['id']}", json=said).is_success
        # The very stream that was open all the while.
        seen += list(events)
        assert [one.sequence_number for one in seen] == list(range(len(seen)))
        assert seen[-1].type == "response.completed"
        words = seen[-1].response.output_text
        assert ("no receipt" in words) is not approve and ("99999" in words) is approve, words
        assert openai_client.responses.retrieve(response).output_text == words
    finally:
        frontdesk.http.delete(f"/v1/agents/{agent}")
        assert frontdesk.http.delete("/v1/toolgroups/waits").is_success
