"""A server of the official MCP package for Python, as a process that says `ready URL`: the oracle of what we speak as a client.

`mcp_server.py PORT STYLE`: `stream` answers by events and keeps sessions, `greets` too and knows no revision without a greeting,
`json` answers by JSON, `stateless` keeps none; `stdio` speaks on its standard input and output.
The tools named `test_*` are those that the conformance suite of the protocol expects of a server.
"""

import asyncio
import os
import sys
from typing import Annotated

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, Resolve
from mcp.types import AudioContent, CallToolResult, EmbeddedResource, ImageContent, TextContent, TextResourceContents, ToolAnnotations
from pydantic import BaseModel, Field

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="

server = MCPServer("shop", version="1", instructions="A shop.")


class Order(BaseModel):
    id: str
    state: str


@server.tool(description="Looks an order up.", annotations=ToolAnnotations(read_only_hint=True))
def look(id: str) -> Order:
    return Order(id=id, state="shipped")


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def cancel(id: str) -> str:
    return f"{id} is cancelled"


@server.tool(name="orders.count")
def count() -> str:
    return "7"


@server.tool()
def broken() -> str:
    raise ValueError("the till is closed")


@server.tool()
async def slow(steps: int, ctx: Context) -> str:
    for step in range(steps):
        await ctx.report_progress(step, steps, f"step {step}")
        await asyncio.sleep(0)
    return "done at last"


ended: dict[str, asyncio.Event] = {}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def ends_after(name: str, other: str | None = None) -> CallToolResult:
    if other:
        await ended.setdefault(other, asyncio.Event()).wait()
    ended.setdefault(name, asyncio.Event()).set()
    return CallToolResult(content=[TextContent(type="text", text=f"{name} ended")])


@server.tool()
async def packs(ctx: Context) -> str:
    await ctx.report_progress(1, 3, "taped")
    await ended.setdefault("packing", asyncio.Event()).wait()
    return "packed"


@server.tool()
def dies() -> str:
    os._exit(1)


@server.tool()
def who(ctx: Context) -> str:
    return ctx.request_context.request.headers.get("authorization", "nobody")


class Table(BaseModel):
    people: int = Field(ge=1, description="How many you are")
    inside: bool = True


class Sure(BaseModel):
    sure: bool


def table(day: str) -> Elicit[Table]:
    return Elicit(f"For how many on {day}?", Table)


def sure(table: Annotated[Table, Resolve(table)]) -> Elicit[Sure]:
    return Elicit(f"A table for {table.people}, for sure?", Sure)


@server.tool()
def book(day: str, table: Annotated[Table, Resolve(table)], sure: Annotated[Sure, Resolve(sure)]) -> str:
    where = "inside" if table.inside else "outside"
    return f"{day}, {table.people} {where}" if sure.sure else "nothing is booked"


@server.tool()
async def reserve(day: str, ctx: Context) -> str:
    """Asks while it is called, as servers do by the revisions before 2026-07-28."""
    said = await ctx.elicit(f"For how many on {day}?", Table)
    return f"{day}, {said.data.people} {said.data.inside}" if said.action == "accept" else f"it was {said.action}"


@server.tool(description="Tests simple text content response")
def test_simple_text() -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text="This is a simple text response for testing.")])


@server.tool(description="Tests error response handling")
def test_error_handling() -> str:
    raise ValueError("This tool intentionally returns an error for testing")


@server.tool(description="Tests tool that reports progress notifications")
async def test_tool_with_progress(ctx: Context) -> str:
    for step in (0, 50, 100):
        await ctx.report_progress(step, 100, f"{step} of 100")
    return "done"


@server.tool(description="Tests image content response")
def test_image_content() -> CallToolResult:
    return CallToolResult(content=[ImageContent(type="image", data=PIXEL, mime_type="image/png")])


@server.tool(description="Tests embedded resource content response")
def test_embedded_resource() -> CallToolResult:
    text = TextResourceContents(uri="test://embedded-resource", mime_type="text/plain", text="This is an embedded resource content.")
    return CallToolResult(content=[EmbeddedResource(type="resource", resource=text)])


AUDIO = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA=="


@server.tool(description="Tests audio content response")
def test_audio_content() -> CallToolResult:
    return CallToolResult(content=[AudioContent(type="audio", data=AUDIO, mime_type="audio/wav")])


@server.tool(description="Tests response with multiple content types")
def test_multiple_content_types() -> CallToolResult:
    text = TextResourceContents(uri="test://mixed-content-resource", mime_type="application/json", text='{"test": "data", "value": 123}')
    picture = ImageContent(type="image", data=PIXEL, mime_type="image/png")
    parts = [TextContent(type="text", text="Multiple content types test:"), picture, EmbeddedResource(type="resource", resource=text)]
    return CallToolResult(content=parts)


@server.tool(name="json_schema_2020_12_tool", description="Tool with JSON Schema 2020-12 features")
def schema_2020_12(name: str = "", address: dict | None = None) -> str:
    return f"{name} {address}"


# The package writes schemas by itself, and none of this kind.
server._tool_manager.get_tool("json_schema_2020_12_tool").parameters = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


class Printed(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets=sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"ready http://127.0.0.1:{port}/mcp", flush=True)


def greeting(app):
    """Refuses what comes by the revision without a greeting, as a server does that was written before it."""

    async def served(scope, receive, send):
        if dict(scope.get("headers", ())).get(b"mcp-protocol-version") != b"2026-07-28":
            return await app(scope, receive, send)
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body"})

    return served


def main():
    port, style = int(sys.argv[1]), sys.argv[2]
    if style == "stdio":
        server.run("stdio")
        return
    app = server.streamable_http_app(json_response=style == "json", stateless_http=style == "stateless")
    app = greeting(app) if style == "greets" else app
    Printed(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).run()


if __name__ == "__main__":
    main()
