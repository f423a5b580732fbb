"""A model that does what it is asked for: the upstream of programs that nobody wrote a script for.

After a user's message it calls every tool it is offered, or the one it must, or the first where one hands the conversation
over, with the plainest arguments that fit their schemas; else it says the plainest document that fits the wanted schema, or
`WORDS` with the addresses that its calls found. What is to be said to certain words it can be told (`serve`). It thinks aloud
where it is to think. It answers streamed and not, in the shapes of OpenAI's chat completions, and counts a prompt's tokens.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = re.compile(r"https://[a-z0-9./-]+")
WORDS = "An obliging model says this, and nothing but this."
THOUGHT = "They would like me to oblige."
# What it counts, whatever it is asked.
TOKENS = 31


def plainest(schema, root=None):
    """The plainest value of a JSON schema, as far as the examples' schemas go: first choices, one entry, no, 1."""
    root = root or schema
    if "$ref" in schema:
        found = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return plainest(found, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return plainest(schema[word][0], root)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: plainest(member, root) for name, member in schema.get("properties", {}).items()}
    if kind == "array":
        return [plainest(schema.get("items", {"type": "string"}), root)]
    return {"string": "Tokyo", "integer": 1, "number": 1.0, "boolean": False, "null": None}[kind]


def call(id, function):
    arguments = json.dumps(plainest(function.get("parameters") or {}))
    return {"id": id, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def heard(words, message):
    content = message.get("content") or ""
    text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    return words in text


def brings_pictures(message):
    """Whether it is the user's only in name: what a tool's message cannot hold of its result stands behind it."""
    return message["role"] == "user" and heard("Also in the result of the tool call ", message)


def answer(asked, told=()):
    """The message for this request."""
    message, reason = spoken(asked, told)
    if asked.get("reasoning_effort", "none") != "none":
        message["reasoning_content"] = THOUGHT
    return message, reason


def spoken(asked, told):
    tools, choice = asked.get("tools") or [], asked.get("tool_choice")
    after_user = asked["messages"][-1]["role"] == "user" and not brings_pictures(asked["messages"][-1])
    for words, name, value in told:
        if name is None and any(heard(words, message) for message in asked["messages"]):
            return {"role": "assistant", "content": json.dumps(value)}, "stop"
        if name is not None and after_user and heard(words, asked["messages"][-1]):
            function = {"name": name, "arguments": json.dumps(value)}
            return {"role": "assistant", "content": None, "tool_calls": [{"id": f"call_{len(asked['messages'])}", "type": "function", "function": function}]}, "tool_calls"
    if tools and choice != "none" and after_user:
        functions = [tool["function"] for tool in tools]
        if isinstance(choice, dict):
            functions = [function for function in functions if function["name"] == choice["function"]["name"]]
        elif any(function["name"].startswith("transfer_to_") for function in functions):
            # A hand-over is made once.
            functions = functions[:1]
        calls = [call(f"call_{len(asked['messages'])}_{n}", function) for n, function in enumerate(functions)]
        return {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
    wanted = asked.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return {"role": "assistant", "content": json.dumps(plainest(wanted["json_schema"]["schema"]))}, "stop"
    found = [address for said in asked["messages"] if said["role"] == "tool" or brings_pictures(said) for address in ADDRESS.findall(str(said["content"]))]
    return {"role": "assistant", "content": " ".join([WORDS, *dict.fromkeys(found)])}, "stop"


def pieces(message):
    """The message as deltas."""
    if "reasoning_content" in message:
        yield {"role": "assistant", "reasoning_content": message["reasoning_content"]}
    for index, made in enumerate(message.get("tool_calls", [])):
        function = made["function"]
        yield {"role": "assistant", "tool_calls": [{**made, "index": index, "function": {**function, "arguments": ""}}]}
        for at in range(0, len(function["arguments"]), 8):
            yield {"tool_calls": [{"index": index, "function": {"arguments": function["arguments"][at : at + 8]}}]}
    if message["content"] is None:
        return
    for at in range(0, len(message["content"]), 8):
        yield {"role": "assistant", "content": message["content"][at : at + 8]}


class Obliging(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/responses/input_tokens"):
            self.send("application/json", json.dumps({"object": "response.input_tokens", "input_tokens": TOKENS}))
            return
        message, reason = answer(asked, self.server.told)
        usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
        head = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": asked["model"]}
        if not asked.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            self.send("application/json", json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}))
            return
        chunk = {**head, "object": "chat.completion.chunk"}
        chunks = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in pieces(message)]
        chunks.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            chunks.append({**chunk, "choices": [], "usage": usage})
        self.send("text/event-stream", "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n")

    def send(self, kind, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(told=()):
    """Serves on a free port of this machine until `shutdown`. `told`: words of the last message, of a user, the function to call
    then, and its arguments; or words of any message, None, and the document to say."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Obliging)
    server.told = told
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
