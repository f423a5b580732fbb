"""Gemini as an upstream: what our provider sends against what the official SDK sends, and recorded answers through Frontdesk.

The scripted upstream keeps what it was asked and answers with the cassettes below, which are the answers of Google's
documentation; before anything else, the SDK's own types, which forbid members they do not know, must accept them.
"""

import base64
import json

import httpx
import openai
import pytest
from google import genai
from google.auth import jwt
from google.genai import types
from llama_stack_client import LlamaStackClient

MODEL = "gem/gemini-2.5-scripted"
THREE = "gem/gemini-3-scripted"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "object", "additionalProperties": False, "required": ["location"],
    "properties": {"location": {"type": "string"}, "unit": {"anyOf": [{"enum": ["c", "f"]}, {"type": "null"}]}},
}  # fmt: skip
HELLO = [{"role": "user", "content": "Hello"}]
SIGNATURE = base64.b64encode(bytes(range(200, 256))).decode()
SIGNED = "__thought__" + SIGNATURE.replace("+", "-").replace("/", "_").rstrip("=")


@pytest.fixture
def sdk(scripted_server):
    """The SDK, at the upstream itself; its default is `v1`, which lacks what is in preview."""
    options = types.HttpOptions(base_url=scripted_server.url, api_version="v1beta", client_args={"trust_env": False})
    return genai.Client(api_key="upstream-key", http_options=options)


def answer(*parts, **more):
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP", "index": 0, **more}
    return {"candidates": [candidate], **TAIL}


TAIL = {
    "usageMetadata": {
        "promptTokenCount": 120, "candidatesTokenCount": 30, "thoughtsTokenCount": 59, "cachedContentTokenCount": 100,
        "toolUsePromptTokenCount": 5, "totalTokenCount": 214,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 120}],
    },
    "modelVersion": "gemini-scripted", "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
}  # fmt: skip


# ---------------------------------------------------------------- requests

OPENAI_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER}}]
SDK_TOOLS = [types.Tool(function_declarations=[
    types.FunctionDeclaration(name="get_weather", description="The weather.", parameters_json_schema=WEATHER),
])]  # fmt: skip
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def openai_call(id, location):
    arguments = json.dumps({"location": location})
    return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def said(role, *parts):
    parts = [types.Part(text=part) if isinstance(part, str) else part for part in parts]
    return types.Content(role=role, parts=parts)


def calling(id, location, signature=None):
    call = types.FunctionCall(id=id, name="get_weather", args={"location": location})
    return types.Part(function_call=call, thought_signature=signature)


def result(id, response):
    return types.Part(function_response=types.FunctionResponse(id=id, name="get_weather", response=response))


def choice(mode, names=None):
    config = types.FunctionCallingConfig(mode=mode, allowed_function_names=names)
    return types.ToolConfig(function_calling_config=config)


def user(*content):
    return {"messages": [{"role": "user", "content": list(content)}]}


LOOP = [
    {"role": "user", "content": "Oslo and Rome?"},
    {"role": "assistant", "content": "I look.", "tool_calls": [openai_call("g1" + SIGNED, "Oslo"), openai_call("g2", "Rome")]},
    {"role": "tool", "tool_call_id": "g2", "content": "sun"},
    {"role": "tool", "tool_call_id": "g1" + SIGNED, "content": '{"sky": "snow"}'},
    {"role": "user", "content": "In one word."},
]  # fmt: skip
SDK_LOOP = [
    said("user", "Oslo and Rome?"),
    said("model", "I look.", calling("g1", "Oslo", base64.b64decode(SIGNATURE)), calling("g2", "Rome")),
    said("user", result("g1", {"sky": "snow"}), result("g2", {"output": "sun"})),
    said("user", "In one word."),
]

# name → what the openai client is asked for, the SDK's contents, the SDK's config
CASES = {
    "plain": ({"messages": HELLO}, "Hello", {}),
    "two instructions and a long talk": (
        {"messages": [
            {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind."},
            *HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Who are you?"},
        ]},
        [said("user", "Hello"), said("model", "Hi."), said("user", "Who are you?")],
        {"system_instruction": said("user", "Be brief.", "Be kind.")},
    ),
    "one instruction, streamed": (
        {"messages": [{"role": "system", "content": "Be brief."}, *HELLO], "stream": True},
        "Hello", {"system_instruction": "Be brief."},
    ),
    "sampling": (
        {
            "messages": HELLO, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END", "STOP"], "n": 2, "max_completion_tokens": 99,
            "presence_penalty": 0.5, "frequency_penalty": -0.5, "logprobs": True, "top_logprobs": 3, "extra_body": {"top_k": 5},
        },
        "Hello",
        {
            "temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 7, "stop_sequences": ["END", "STOP"], "candidate_count": 2,
            "max_output_tokens": 99, "presence_penalty": 0.5, "frequency_penalty": -0.5, "response_logprobs": True, "logprobs": 3,
        },
    ),
    "tools": ({"messages": HELLO, "tools": OPENAI_TOOLS}, "Hello", {"tools": SDK_TOOLS}),
    "tools, none to be called": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "none"}, "Hello", {"tools": SDK_TOOLS, "tool_config": choice("NONE")},
    ),
    "tools, chosen freely": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "auto"}, "Hello", {"tools": SDK_TOOLS, "tool_config": choice("AUTO")},
    ),
    "tools, one to be called": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "required"}, "Hello", {"tools": SDK_TOOLS, "tool_config": choice("ANY")},
    ),
    "tools, one by name": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": NAMED},
        "Hello", {"tools": SDK_TOOLS, "tool_config": choice("ANY", ["get_weather"])},
    ),
    "results of parallel calls, out of order": ({"messages": LOOP, "tools": OPENAI_TOOLS}, SDK_LOOP, {"tools": SDK_TOOLS}),
    "images, sound and a document": (
        user(
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/ant.jpg"}},
            {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"}},
            {"type": "text", "text": "What is this?"},
        ),
        [said(
            "user",
            types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png"),
            types.Part.from_uri(file_uri="https://example.com/ant.jpg"),
            types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="audio/wav"),
            types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="application/pdf"),
            "What is this?",
        )],
        {},
    ),
    "structured output": (
        {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": WEATHER}}},
        "Hello", {"response_mime_type": "application/json", "response_json_schema": WEATHER},
    ),
    "any JSON": (
        {"messages": HELLO, "response_format": {"type": "json_object"}}, "Hello", {"response_mime_type": "application/json"},
    ),
    "effort as a budget": (
        {"messages": HELLO, "reasoning_effort": "medium"},
        "Hello", {"thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_budget=8192)},
    ),
    "no thought": (
        {"messages": HELLO, "reasoning_effort": "none"}, "Hello", {"thinking_config": types.ThinkingConfig(thinking_budget=0)},
    ),
    "effort as a level": (
        {"model": THREE, "messages": HELLO, "reasoning_effort": "high"},
        "Hello", {"thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH")},
    ),
    "as for Google's own OpenAI endpoint": (
        {"messages": HELLO, "extra_body": {"extra_body": {"google": {
            "cached_content": "cachedContents/x", "thinking_config": {"thinking_budget": 800, "include_thoughts": True},
        }}}},
        "Hello",
        {
            "cached_content": "cachedContents/x",
            "thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_budget=800),
        },
    ),
    "safety, search and a tier": (
        {"messages": HELLO, "service_tier": "flex", "extra_body": {
            "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}], "web_search_options": {},
        }},
        "Hello",
        {
            "service_tier": "flex", "tools": [types.Tool(google_search=types.GoogleSearch())],
            "safety_settings": [types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_ONLY_HIGH")],
        },
    ),
}  # fmt: skip


# Members that hold what is not Google's: JSON Schema, and what models and tools say to each other.
FOREIGN = ("parametersJsonSchema", "responseJsonSchema", "args", "response", "labels")


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def plain(value, name=None):
    """The same request in one spelling: the SDK writes some members in Google's older one, bytes in URL-safe Base64,
    and an empty configuration; the API reads either."""
    if name in FOREIGN:
        return value
    if isinstance(value, dict):
        members = {camel(name): plain(inner, camel(name)) for name, inner in value.items()}
        return {name: inner for name, inner in members.items() if (name, inner) != ("generationConfig", {})}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.replace("-", "+").replace("_", "/") if name in ("data", "thoughtSignature") else value


@pytest.mark.parametrize("name", CASES)
def test_our_request_is_the_sdk_s(name, openai_client, sdk, scripted):
    asked, contents, config = CASES[name]
    stream = asked.get("stream", False)
    reply = {"sse": cassette("text")} if stream else {"json": answer({"text": "Hi!"})}
    scripted.script([{"times": 2, "reply": reply}])
    asked = {"model": MODEL, **asked}
    openai_client.chat.completions.create(**asked)
    ask = sdk.models.generate_content_stream if stream else sdk.models.generate_content
    answered = ask(model=asked["model"].removeprefix("gem/"), contents=contents, config=config)
    if stream:
        list(answered)
    ours, theirs = scripted.requests()
    assert ours["path"] == theirs["path"]
    assert plain(json.loads(ours["body"])) == plain(json.loads(theirs["body"]))
    ours, theirs = dict(ours["headers"]), dict(theirs["headers"])
    assert ours["content-type"] == theirs["content-type"]
    assert ours["x-goog-api-key"] == theirs["x-goog-api-key"] == "upstream-key"
    assert "authorization" not in ours, "the client's key stays here"


def test_calls_of_another_model_are_marked_where_signatures_are_checked(openai_client, scripted):
    messages = [HELLO[0], {"role": "assistant", "tool_calls": [openai_call("call_1", "Oslo")]}, {"role": "tool", "tool_call_id": "call_1", "content": "snow"}]
    scripted.script([{"reply": {"json": answer({"text": "Snow."})}}])
    openai_client.chat.completions.create(model=THREE, messages=messages, tools=OPENAI_TOOLS)
    call = json.loads(scripted.requests()[-1]["body"])["contents"][1]["parts"][0]
    assert call["thoughtSignature"] == "skip_thought_signature_validator"
    # It is Base64, and so a signature to the SDK too.
    assert types.Part.model_validate_json(json.dumps(call)).thought_signature


# ---------------------------------------------------------------- answers


def call(name="get_weather", id=None, signature=None, **args):
    function = {"name": name, "args": args, **({"id": id} if id else {})}
    return {"functionCall": function, **({"thoughtSignature": signature} if signature else {})}


def chunk(*parts, finish=None, **more):
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **({"finishReason": finish} if finish else {}), **more}
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 120, "totalTokenCount": 120}, **{k: v for k, v in TAIL.items() if k != "usageMetadata"}}


def last(*parts, finish="STOP", **more):
    return {**chunk(*parts, finish=finish, **more), **TAIL}


GROUNDING = {
    "webSearchQueries": ["euro 2024 winner"],
    "searchEntryPoint": {"renderedContent": "<div></div>"},
    "groundingChunks": [{"web": {"uri": "https://example.com/euro", "title": "example.com"}}],
    "groundingSupports": [
        # Bytes: two letters of what was said before take two each.
        {"segment": {"startIndex": 9, "endIndex": 19, "text": "Spain won."}, "groundingChunkIndices": [0]},
    ],
}

CASSETTES = {
    "text": [chunk({"text": "Hello"}), last({"text": "!"})],
    "tools": [
        chunk({"text": "I look."}), chunk(call(id="g1", signature=SIGNATURE, location="Oslo"), call(location="Rome")),
        last({"text": "", "thoughtSignature": SIGNATURE}),
    ],
    "thinking": [chunk({"text": "Let me ", "thought": True}), chunk({"text": "see.", "thought": True}), last({"text": "27"})],
    "length": [last({"text": "Hel"}, finish="MAX_TOKENS")],
    "safety": [chunk({"text": "Hel"}), last(finish="SAFETY", safetyRatings=[
        {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True},
    ])],
    "a blocked prompt": [{**TAIL, "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}],
    "a malformed call": [last(finish="MALFORMED_FUNCTION_CALL", finishMessage="Malformed function call: print(")],
    "grounded": [chunk({"text": "Grüße. "}), last({"text": "Spain won."}, groundingMetadata=GROUNDING)],
    "code that ran": [
        chunk({"executableCode": {"language": "PYTHON", "code": "print(1)"}}),
        chunk({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}), last({"text": "1"}),
    ],
}  # fmt: skip


def wire(event):
    return f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n"


def cassette(name):
    return [wire(event) for event in CASSETTES[name]]


@pytest.mark.parametrize("name", CASSETTES)
def test_the_cassettes_are_what_the_sdk_reads(name, sdk, scripted):
    for event in CASSETTES[name]:
        read = types.GenerateContentResponse.model_validate_json(json.dumps(event))
        assert json.loads(read.model_dump_json(by_alias=True, exclude_none=True)).keys() >= event.keys()
    scripted.script([{"reply": {"sse": cassette(name)}}])
    seen = list(sdk.models.generate_content_stream(model="gemini-2.5-scripted", contents="Hello"))
    assert len(seen) == len(CASSETTES[name])
    assert seen[-1].usage_metadata.thoughts_token_count == 59


def joined(name):
    """The whole answer whose stream the cassette is."""
    events = CASSETTES[name]
    if "candidates" not in events[-1]:
        return events[-1]
    parts = [part for event in events for part in event["candidates"][0]["content"]["parts"]]
    candidate = {**events[-1]["candidates"][0], "content": {"parts": parts, "role": "model"}}
    return {**events[-1], "candidates": [candidate]}


class Heard:
    """What an openai client heard, streamed or whole."""

    def __init__(self, client, name, scripted, stream, **more):
        types.GenerateContentResponse.model_validate_json(json.dumps(joined(name)))
        scripted.script([{"reply": {"sse": cassette(name), "split": 7} if stream else {"json": joined(name)}}])
        asked = {"model": MODEL, "messages": HELLO, **more}
        if not stream:
            whole = client.chat.completions.create(**asked)
            self.id, self.model, self.usage, self.gemini = whole.id, whole.model, whole.usage, whole.model_extra.get("gemini")
            self.pieces, self.reasons = [whole.choices[0].message], [whole.choices[0].finish_reason]
            return
        *chunks, usage = client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked)
        assert usage.choices == [] and all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
        assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].created > 0
        assert len({chunk.id for chunk in chunks}) == 1
        self.id, self.model, self.usage = chunks[0].id, chunks[0].model, usage.usage
        self.pieces = [chunk.choices[0].delta for chunk in chunks]
        self.reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
        self.gemini = next((chunk.model_extra["gemini"] for chunk in chunks if "gemini" in chunk.model_extra), None)

    def all(self, member):
        return "".join(getattr(piece, member, None) or "" for piece in self.pieces)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "words", "reason"), [
    ("text", "Hello!", "stop"), ("thinking", "27", "stop"), ("length", "Hel", "length"), ("safety", "Hel", "content_filter"),
    ("tools", "I look.", "tool_calls"), ("a blocked prompt", "", "content_filter"), ("grounded", "Grüße. Spain won.", "stop"),
    ("a malformed call", "", "stop"), ("code that ran", "1", "stop"),
])  # fmt: skip
def test_every_cassette_reaches_an_openai_client(name, words, reason, stream, openai_client, scripted):
    heard = Heard(openai_client, name, scripted, stream)
    assert (heard.all("content"), heard.reasons) == (words, [reason])
    assert (heard.id, heard.model) == ("mAitaLmkHPPlz7IPvtfUqQ4", "gemini-scripted")
    usage = heard.usage
    # Thoughts are counted beside the answer, OpenAI counts them in it; so with what Google's tools read.
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (125, 89, 214)
    assert usage.prompt_tokens_details.cached_tokens == 100 and usage.completion_tokens_details.reasoning_tokens == 59


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_refusals_sources_and_the_rest_have_their_members(openai_client, scripted, stream):
    assert Heard(openai_client, "thinking", scripted, stream).all("reasoning_content") == "Let me see."
    assert "PROHIBITED_CONTENT" in Heard(openai_client, "a blocked prompt", scripted, stream).all("refusal")
    heard = Heard(openai_client, "grounded", scripted, stream)
    notes = [note for piece in heard.pieces for note in getattr(piece, "annotations", None) or []]
    shown = notes[0].to_dict() if not stream else notes[0]
    assert shown == {"type": "url_citation", "url_citation": {
        "start_index": 7, "end_index": 17, "url": "https://example.com/euro", "title": "example.com",
    }}  # fmt: skip
    assert heard.all("content")[7:17] == "Spain won."
    assert heard.gemini["candidates"][0]["groundingMetadata"]["searchEntryPoint"] == {"renderedContent": "<div></div>"}
    parts = Heard(openai_client, "code that ran", scripted, stream).gemini["candidates"][0]["parts"]
    assert [list(part) for part in parts] == [["executableCode"], ["codeExecutionResult"]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_through_the_client_gives_ids_and_signatures_back(openai_client, sdk, scripted, stream):
    scripted.script([{"reply": {"sse": cassette("tools")} if stream else {"json": joined("tools")}}, {"reply": {"json": answer({"text": "Snow, sun."})}}])
    asked = {"model": THREE, "messages": HELLO, "tools": OPENAI_TOOLS}
    if stream:
        with openai_client.chat.completions.stream(**asked) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = openai_client.chat.completions.create(**asked).choices[0].message
    calls = [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls]
    assert calls == [("get_weather", {"location": "Oslo"}), ("get_weather", {"location": "Rome"})]
    assert message.tool_calls[0].id == "g1" + SIGNED and message.tool_calls[1].id.startswith("fdcall_")
    results = [{"role": "tool", "tool_call_id": c.id, "content": sky} for c, sky in zip(message.tool_calls, ("snow", "sun"))]
    history = [*HELLO, message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True), *results]
    done = openai_client.chat.completions.create(model=THREE, messages=history, tools=OPENAI_TOOLS)
    assert done.choices[0].message.content == "Snow, sun."
    # The SDK's own history of the same loop, with the answer as it came.
    scripted.script([{"reply": {"json": joined("tools")}}, {"reply": {"json": answer({"text": "Snow, sun."})}}])
    config = types.GenerateContentConfig(tools=SDK_TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))
    chat = sdk.chats.create(model="gemini-3-scripted", config=config)
    chat.send_message("Hello")
    chat.send_message([result("g1", {"output": "snow"}), types.Part(function_response=types.FunctionResponse(name="get_weather", response={"output": "sun"}))])
    ours, theirs = (json.loads(r["body"]) for r in (scripted.requests()[1], scripted.requests()[3]))
    # The signature of a part without a call has no place to be kept; the API does not ask for it back.
    theirs["contents"][1]["parts"] = [part for part in theirs["contents"][1]["parts"] if part.get("text") != ""]
    assert plain(ours) == plain(theirs)


def test_one_call_at_a_time_is_kept(openai_client, scripted):
    scripted.script([{"reply": {"json": joined("tools")}}])
    message = openai_client.chat.completions.create(
        model=MODEL, messages=HELLO, tools=OPENAI_TOOLS, parallel_tool_calls=False
    ).choices[0].message  # fmt: skip
    assert [json.loads(c.function.arguments)["location"] for c in message.tool_calls] == ["Oslo"]


def test_several_answers_and_probabilities(openai_client, scripted):
    token = {"token": "Hi", "tokenId": 3, "logProbability": -0.25}
    logprobs = {"topCandidates": [{"candidates": [token, {**token, "token": "Ho", "logProbability": -2.5}]}], "chosenCandidates": [token]}
    one = {**answer({"text": "Hi"}, logprobsResult=logprobs, avgLogprobs=-0.25)["candidates"][0]}
    body = {**TAIL, "candidates": [one, {**answer({"text": "Ho"})["candidates"][0], "index": 1}]}
    types.GenerateContentResponse.model_validate_json(json.dumps(body))
    scripted.script([{"reply": {"json": body}}])
    choices = openai_client.chat.completions.create(model=MODEL, messages=HELLO, n=2, logprobs=True, top_logprobs=2).choices
    assert [(c.index, c.message.content, c.finish_reason) for c in choices] == [(0, "Hi", "stop"), (1, "Ho", "stop")]
    (first,) = choices[0].logprobs.content
    assert (first.token, first.logprob, [t.token for t in first.top_logprobs]) == ("Hi", -0.25, ["Hi", "Ho"])


def test_usage_stays_here_unless_asked_for(openai_client, scripted):
    scripted.script([{"reply": {"sse": cassette("text")}}])
    chunks = list(openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_frame_one_arrives_before_frame_two_exists(openai_client, scripted):
    first, second = cassette("text")
    scripted.script([{"reply": {"sse": [first, {"gate": "g"}, second]}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert next(stream).choices[0].delta.role == "assistant"
    assert next(stream).choices[0].delta.content == "Hello"
    scripted.waiting("g")
    scripted.release("g")
    assert next(stream).choices[0].delta.content == "!"
    list(stream)


@pytest.mark.parametrize(("status", "word", "raised"), [
    (400, "INVALID_ARGUMENT", openai.BadRequestError), (404, "NOT_FOUND", openai.NotFoundError),
    (429, "RESOURCE_EXHAUSTED", openai.RateLimitError), (503, "UNAVAILABLE", openai.InternalServerError),
    (403, "PERMISSION_DENIED", openai.InternalServerError), (504, "DEADLINE_EXCEEDED", openai.InternalServerError),
])  # fmt: skip
def test_errors_keep_their_meaning(status, word, raised, openai_client, sdk, scripted):
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}]
    body = {"error": {"code": status, "message": "as said", "status": word, "details": details}}
    scripted.script([{"times": 99, "reply": {"status": status, "json": body}}])
    with pytest.raises(genai.errors.APIError) as error:
        sdk.models.generate_content(model="other", contents="Hello")
    assert (error.value.code, error.value.status, error.value.message) == (status, word, "as said")
    with pytest.raises(raised) as error:
        openai_client.chat.completions.create(model="gem/other", messages=HELLO)
    # A name that the provider does not list is answered with the nearest, and with its own words.
    assert "as said" in error.value.message and ("nearest" in error.value.message) == (status == 404)
    assert error.value.status_code == {403: 502}.get(status, status)
    if status in (429, 503):
        assert error.value.response.headers["retry-after"] == "8"


def test_an_error_in_the_stream_is_one_of_the_client_s(openai_client, scripted):
    overloaded = wire({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})
    scripted.script([{"reply": {"sse": [cassette("text")[0], overloaded]}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)) as error:
        list(stream)
    assert "overloaded" in str(error.value)


def test_what_cannot_be_translated_is_named(openai_client, scripted):
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.chat.completions.create(model=MODEL, messages=HELLO, modalities=["text", "audio"])
    assert error.value.param == "modalities" and not scripted.requests()
    with pytest.raises(openai.NotFoundError):
        openai_client.chat.completions.create(model="gem/../../v1/files", messages=HELLO)
    assert not scripted.requests(), "a client's name for a model leads nowhere else"


# ---------------------------------------------------------------- other clients, Vertex AI


def test_tokens_are_counted_by_gemini(anthropic_client, sdk, scripted):
    scripted.script([{"times": 2, "reply": {"json": {"totalTokens": 31}}}])
    assert anthropic_client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens == 31
    assert sdk.models.count_tokens(model="gemini-2.5-scripted", contents="Hello").total_tokens == 31
    ours, theirs = scripted.requests()
    assert ours["path"] == theirs["path"]
    request = json.loads(ours["body"])["generateContentRequest"]
    assert request == {"model": "models/gemini-2.5-scripted", **json.loads(theirs["body"])}


def test_an_anthropic_client_gives_signatures_back_too(anthropic_client, scripted):
    scripted.script([{"reply": {"sse": cassette("tools")}}, {"reply": {"json": answer({"text": "Snow."})}}])
    tool = {"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}
    asked = {"model": MODEL, "max_tokens": 99, "tools": [tool]}
    with anthropic_client.messages.stream(messages=HELLO, **asked) as events:
        message = events.get_final_message()
    assert message.stop_reason == "tool_use"
    uses = [block for block in message.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "snow"} for use in uses]
    history = [*HELLO, {"role": "assistant", "content": [b.to_dict() for b in message.content]}, {"role": "user", "content": results}]
    done = anthropic_client.messages.create(messages=history, **asked)
    assert done.content[0].text == "Snow."
    said = json.loads(scripted.requests()[-1]["body"])["contents"]
    assert said[1]["parts"][1] == call(id="g1", signature=SIGNATURE, location="Oslo")
    assert [part["functionResponse"].get("id") for part in said[2]["parts"]] == ["g1", None]


def test_an_anthropic_client_says_how_much_to_think(anthropic_client, sdk, scripted):
    scripted.script([{"times": 4, "reply": {"json": answer({"text": "Snow."})}}])
    for thinking, config in [
        ({"type": "enabled", "budget_tokens": 2048}, types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)),
        ({"type": "disabled"}, types.ThinkingConfig(thinking_budget=0)),
    ]:
        anthropic_client.messages.create(model=MODEL, max_tokens=4096, messages=HELLO, thinking=thinking)
        config = types.GenerateContentConfig(max_output_tokens=4096, thinking_config=config)
        sdk.models.generate_content(model="gemini-2.5-scripted", contents="Hello", config=config)
        ours, theirs = [plain(json.loads(request["body"])["generationConfig"]) for request in scripted.requests()[-2:]]
        assert ours == theirs


def test_an_agent_calls_a_tool_through_gemini(frontdesk, scripted):
    tool = {
        "name": "get_weather", "description": "The weather.",
        "parameters": [{"name": "location", "parameter_type": "string", "description": "Where", "required": True}],
    }  # fmt: skip
    client = LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)
    agent = client.agents.create(agent_config={"model": THREE, "instructions": "Be brief.", "client_tools": [tool]})
    session = client.agents.session.create(agent.agent_id, session_name="weather")
    calls = [chunk({"text": "I look."}), last(call(id="g1", signature=SIGNATURE, location="Oslo"))]
    scripted.script([{"reply": {"sse": [wire(event) for event in calls]}}, {"reply": {"sse": cassette("text")}}])
    asked = {"agent_id": agent.agent_id, "session_id": session.session_id, "stream": False}
    waiting = client.agents.turn.create(**asked, messages=HELLO)
    asks = waiting.output_message.tool_calls[0]
    assert (asks.call_id, asks.tool_name, asks.arguments) == ("g1" + SIGNED, "get_weather", {"location": "Oslo"})
    answer = {"call_id": asks.call_id, "tool_name": asks.tool_name, "content": "snow"}
    done = client.agents.turn.resume(waiting.turn_id, **asked, tool_responses=[answer])
    assert done.output_message.content == "Hello!"
    body = json.loads(scripted.requests()[-1]["body"])
    assert [c["role"] for c in body["contents"]] == ["user", "model", "user"] and "Be brief." in json.dumps(body["systemInstruction"])
    assert body["contents"][1]["parts"] == [{"text": "I look."}, call(id="g1", signature=SIGNATURE, location="Oslo")]
    assert body["contents"][2]["parts"] == [{"functionResponse": {"id": "g1", "name": "get_weather", "response": {"output": "snow"}}}]
    client.agents.delete(agent.agent_id)


def test_vertex_is_asked_as_the_sdk_asks_it_with_a_token_of_the_account(openai_client, scripted, service_account):
    token = {"access_token": "of-the-account", "expires_in": 3600, "token_type": "Bearer"}
    scripted.script([{"when": {"path": "/token"}, "reply": {"json": token}}, {"times": 2, "reply": {"json": answer({"text": "Hi!"})}}])
    openai_client.chat.completions.create(model="vertex/gemini-2.5-scripted", messages=LOOP, tools=OPENAI_TOOLS)
    options = types.HttpOptions(base_url=scripted.url, client_args={"trust_env": False})
    credentials = genai.client.google.auth.credentials.AnonymousCredentials()
    credentials.token = "of-the-account"
    client = genai.Client(vertexai=True, project="shop-1", location="europe-west4", credentials=credentials, http_options=options)
    client.models.generate_content(model="gemini-2.5-scripted", contents=SDK_LOOP, config={"tools": SDK_TOOLS})
    exchange, ours, theirs = scripted.requests()
    assert ours["path"] == theirs["path"]
    assert plain(json.loads(ours["body"])) == plain(json.loads(theirs["body"]))
    assert dict(ours["headers"])["authorization"] == "Bearer of-the-account"
    form = dict(httpx.QueryParams(exchange["body"]))
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(form["assertion"], certs=service_account.public, verify=True, audience=f"{scripted.url}/token")
    assert claims["iss"] == service_account.email and "cloud-platform" in claims["scope"] and claims["exp"] - claims["iat"] == 3600
