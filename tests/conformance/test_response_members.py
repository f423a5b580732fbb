"""What a member of a request comes to, with the official openai package, strict: refusals, what is known of tokens, tiers,
conversations that are too long, and parameters that no route has."""

import typing

import openai
import pytest
from openai.types import responses
from openai.types.responses import response_input_item_param

from test_responses import LOOK, MODEL, said, sent


def test_a_refusal_is_one_and_goes_back_as_one(openai_client, scripted):
    scripted.script([{"reply": {"refusal": "I will not."}}, {"times": 2, "reply": {"text": "As I said."}}])
    response = openai_client.responses.create(model=MODEL, input="poach an elephant")
    (part,) = response.output[0].content
    assert (part.type, part.refusal, response.status, response.output_text) == ("refusal", "I will not.", "completed", "")
    assert openai_client.responses.retrieve(response.id) == response
    openai_client.responses.create(model=MODEL, input="why?", previous_response_id=response.id)
    # As words, which every server reads.
    told = [("user", "poach an elephant"), ("assistant", "I will not."), ("user", "why?")]
    assert said(scripted) == told
    # Sent back by a client that keeps its own history.
    history = [{"role": "user", "content": "poach an elephant"}, *response.output, {"role": "user", "content": "why?"}]
    assert openai_client.responses.create(model=MODEL, input=history).output_text == "As I said."
    assert said(scripted) == told


def test_what_the_models_server_knows_of_tokens(openai_client, scripted):
    token = lambda text, *others: {"token": text, "logprob": -0.25, "bytes": list(text.encode()), "top_logprobs": list(others)}  # noqa: E731
    other = {"token": "Hi", "logprob": -1.5, "bytes": [72, 105]}
    choice = lambda text, *tokens: {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": list(tokens), "refusal": None}}]}  # noqa: E731
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    end = {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}
    sse = [{"data": {**head, **chunk}} for chunk in (choice("Hé", token("H", other), token("é")), choice("llo", token("llo")), end)]
    scripted.script([{"times": 2, "reply": {"sse": [*sse, "data: [DONE]\n\n"]}}])
    asked = {"model": MODEL, "input": "greet", "top_logprobs": 1, "include": ["message.output_text.logprobs"]}
    response = openai_client.responses.create(**asked)
    assert (sent(scripted)["logprobs"], sent(scripted)["top_logprobs"], response.top_logprobs) == (True, 1, 1)
    (part,) = response.output[0].content
    assert [(t.token, t.logprob, t.bytes) for t in part.logprobs] == [("H", -0.25, [72]), ("é", -0.25, [195, 169]), ("llo", -0.25, [108, 108, 111])]
    assert part.logprobs[0].top_logprobs[0].token == "Hi"
    # They are kept, and shown where they are asked for.
    assert openai_client.responses.retrieve(response.id).output[0].content[0].logprobs == []
    assert openai_client.responses.retrieve(response.id, include=asked["include"]).output == response.output
    events = list(openai_client.responses.create(**asked, stream=True))
    told = [token.token for event in events if event.type == "response.output_text.delta" for token in event.logprobs]
    assert told == ["H", "é", "llo"]
    assert [t.token for e in events if e.type == "response.output_text.done" for t in e.logprobs] == told


def test_a_tier_is_told_to_the_models_server(openai_client, scripted):
    scripted.script([{"times": 2, "reply": {"text": "ok"}}])
    assert openai_client.responses.create(model=MODEL, input="x", service_tier="flex").service_tier == "flex"
    assert sent(scripted)["service_tier"] == "flex"
    assert openai_client.responses.create(model=MODEL, input="x", service_tier="auto").service_tier == "default"
    assert "service_tier" not in sent(scripted)


@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        ("GET", "/v1/responses?before=x", "before"),
        ("GET", "/v1/responses/ID?starting=3", "starting"),
        ("GET", "/v1/responses/ID/input_items?behind=x", "behind"),
        ("POST", "/v1/responses/ID/cancel?force=true", "force"),
        ("DELETE", "/v1/responses/ID?force=true", "force"),
        ("POST", "/v1/responses?stream=true", "stream"),
        ("POST", "/v1/responses/compact?stream=true", "stream"),
        ("POST", "/v1/responses/input_tokens?stream=true", "stream"),
        ("POST", "/v1/conversations?name=x", "name"),
        ("GET", "/v1/conversations/ID?include=items", "include"),
        ("POST", "/v1/conversations/ID?name=x", "name"),
        ("DELETE", "/v1/conversations/ID?force=true", "force"),
        ("GET", "/v1/conversations/ID/items?behind=x", "behind"),
        ("POST", "/v1/conversations/ID/items?before=x", "before"),
        ("GET", "/v1/conversations/ID/items/ITEM?before=x", "before"),
        ("DELETE", "/v1/conversations/ID/items/ITEM?force=true", "force"),
    ],
)
def test_a_parameter_that_no_route_has_is_refused_by_name(frontdesk, method, path, param):
    refused = frontdesk.http.request(method, path, **({"json": {}} if method == "POST" else {}))
    assert (refused.status_code, refused.json()["error"]["param"], refused.json()["error"]["code"]) == (400, param, "unknown_parameter")


def test_what_the_packages_put_on_addresses_of_their_betas_decides_nothing(frontdesk, lenient_openai_client, scripted):
    scripted.script([{"times": 9, "reply": {"text": "Hello."}}])
    beta = lenient_openai_client.beta.responses
    made = beta.create(model=MODEL, input="hello", background=True)
    assert list(beta.retrieve(made.id, stream=True))[-1].type == "response.completed"
    assert beta.retrieve(made.id).output[0].content[0].text == "Hello."
    assert [item.role for item in beta.input_items.list(made.id)] == ["user"]
    beta.delete(made.id)
    assert frontdesk.http.get("/v1/responses?api-version=preview&limit=1").is_success


def test_a_page_of_items_ends_before_one(openai_client, scripted):
    scripted.script([{"reply": {"text": "ok"}}])
    response = openai_client.responses.create(model=MODEL, input=[{"role": "user", "content": n} for n in "abc"])
    items = list(openai_client.responses.input_items.list(response.id, order="asc"))
    page = openai_client.responses.input_items.list(response.id, order="asc", extra_query={"before": items[2].id})
    assert [item.id for item in page.data] == [items[0].id, items[1].id]


# Values of members that the package declares for what is sent back, by their names.
SENT = {
    "role": "assistant", "content": [], "status": "completed", "summary": [], "queries": [], "results": [], "outputs": [], "tools": [],
    "action": {"type": "search", "query": "x"}, "caller": {"type": "direct"}, "async": False, "error": None, "approve": True,
    "encrypted_content": "QSBsYW1wLg==",
}  # fmt: skip
KINDS = [
    responses.ResponseOutputMessageParam, responses.ResponseFunctionToolCallParam, responses.ResponseFileSearchToolCallParam,
    responses.ResponseFunctionWebSearchParam, responses.ResponseReasoningItemParam, responses.ResponseCodeInterpreterToolCallParam,
    response_input_item_param.FunctionCallOutput, response_input_item_param.McpListTools, response_input_item_param.McpApprovalRequest,
    response_input_item_param.McpCall, responses.ResponseInputTextParam, responses.ResponseInputImageParam, responses.ResponseInputFileParam,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_member_that_the_package_declares_is_unknown(frontdesk, scripted, kind):
    scripted.script([{"times": 9, "reply": {"text": "ok"}}])
    hints = typing.get_type_hints(kind)
    sent = {name: SENT.get(name, "x") for name in hints}
    sent["type"] = typing.get_args(hints["type"])[0] if "type" in hints else "message"
    sent["type"] = typing.get_args(sent["type"])[0] if typing.get_args(sent["type"]) else sent["type"]
    if "detail" in hints:
        sent["detail"] = "auto"
        for one in ("file_id", "file_url"):
            sent.pop(one, None)
    if sent["type"].startswith("input_"):
        sent = {"role": "user", "content": [sent]}
    answer = frontdesk.http.post("/v1/responses", json={"model": MODEL, "input": [sent, {"role": "user", "content": "hello"}]})
    assert answer.is_success or answer.json()["error"]["code"] != "unknown_parameter", answer.text


def test_what_is_too_long_for_its_model_loses_its_beginning_where_that_is_asked_for(openai_client, scripted):
    scripted.script([{"times": 9, "reply": {"text": "Noted."}}])
    # A model that does not say how much it takes is thought to take 32,768 tokens; these are more, as bytes are counted here.
    long = "lamps " * 3000
    before = None
    for n in range(4):
        before = openai_client.responses.create(model=MODEL, input=f"{n}: {long}", previous_response_id=before).id
    numbers = lambda: [text.split(":")[0] for role, text in said(scripted) if role == "user"]  # noqa: E731
    openai_client.responses.create(model=MODEL, input="4: and now?", previous_response_id=before)
    assert numbers() == ["0", "1", "2", "3", "4"], "the model's server is to refuse it"
    short = openai_client.responses.create(model=MODEL, input="4: and now?", previous_response_id=before, truncation="auto")
    assert short.truncation == "auto" and short.output_text == "Noted."
    left = numbers()
    assert left[-1] == "4" and left == [str(n) for n in range(5)][-len(left) :] and 1 < len(left) < 5
    # What was left out of a prompt is still there.
    openai_client.responses.create(model=MODEL, input="5: all?", previous_response_id=short.id)
    assert numbers() == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_model_is_shown_the_tools_that_the_choice_allows_and_no_others(openai_client, scripted, mode):
    tools = [LOOK, {**LOOK, "name": "refund"}, {**LOOK, "name": "weigh"}]
    choice = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "weigh"}, {"type": "function", "name": "look"}]}
    calls = [{"id": f"call-{name}", "name": name, "arguments": {"id": "7"}} for name in ("refund", "look")]
    scripted.script([{"reply": {"tool_call": calls[0]}}, {"reply": {"tool_call": calls[1]}}, {"reply": {"text": "It is sent."}}])
    asked = {"model": MODEL, "tools": tools, "tool_choice": choice}
    response = openai_client.responses.create(**asked, input="where is 7?")
    first = sent(scripted, 0)
    assert ([tool["function"]["name"] for tool in first["tools"]], first["tool_choice"]) == (["weigh", "look"], mode)
    # What is repeated is whole.
    assert [tool.name for tool in response.tools] == ["look", "refund", "weigh"]
    assert response.tool_choice.model_dump() == choice
    # A call of one that was not shown is made by nobody, and its client is not asked to make it.
    hidden, call = response.output
    assert (hidden.type, hidden.status, call.type, call.name) == ("mcp_call", "failed", "function_call", "look")
    assert openai_client.responses.retrieve(response.id) == response
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sent"}
    assert openai_client.responses.create(**asked, input=[output], previous_response_id=response.id).output_text == "It is sent."


def test_a_choice_of_what_is_not_among_the_tools_is_refused_by_its_place(openai_client, scripted):
    ask = {"model": MODEL, "input": "x", "tools": [LOOK]}
    for named, param in [
        ([{"type": "function", "name": "look"}, {"type": "function", "name": "pay"}], "tool_choice.tools[1].name"),
        ([{"type": "mcp", "server_label": "shop"}], "tool_choice.tools[0].server_label"),
        ([{"type": "file_search"}], "tool_choice.tools[0].type"),
        ([], "tool_choice.tools"),
    ]:
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.responses.create(**ask, tool_choice={"type": "allowed_tools", "mode": "auto", "tools": named})
        assert refused.value.param == param, refused.value
    assert scripted.requests() == []
