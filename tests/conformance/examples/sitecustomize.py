"""Python reads this before an example: its clients check every answer and every event against the package's own types.

The examples are run as they were published; this is how their package is told to be strict, as the other suites tell it, and
that a server on the internet, which some of them name, is stood for by one on this machine (`EXAMPLE_MCP_SERVER`). A server that
an example starts has the time that it needs, where the example gives it three seconds.
"""

import os
import socket
import subprocess
import time

import openai
from openai.resources.responses import AsyncResponses


def strict(client):
    begin = client.__init__

    def __init__(self, *arguments, **options):
        options.setdefault("_strict_response_validation", True)
        begin(self, *arguments, **options)

    client.__init__ = __init__


def at_home(resource, address):
    create = resource.create

    async def asked(self, *arguments, tools=openai.omit, **options):
        if isinstance(tools, list):
            tools = [{**tool, "server_url": address} if tool.get("server_url") else tool for tool in tools]
        return await create(self, *arguments, tools=tools, **options)

    resource.create = asked


def near(server, address):
    begin = server.__init__

    def __init__(self, params, *arguments, **options):
        if params["url"].startswith("https:"):
            params = {**params, "url": address}
        begin(self, params, *arguments, **options)

    server.__init__ = __init__


class Popen(subprocess.Popen):
    """Returns once a server that is to listen at a port of its environment does, or has ended."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        env = options.get("env") or {}
        port = env.get("STREAMABLE_HTTP_PORT") or env.get("SSE_PORT")
        while port and self.poll() is None:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", int(port))) == 0:
                    return
            time.sleep(0.1)


if address := os.environ.get("EXAMPLE_MCP_SERVER"):
    at_home(AsyncResponses, address)
    if os.environ.get("EXAMPLE_ASKS_MCP"):
        subprocess.Popen = Popen
        from agents.mcp import MCPServerStreamableHttp

        near(MCPServerStreamableHttp, address)
strict(openai.OpenAI)
strict(openai.AsyncOpenAI)
