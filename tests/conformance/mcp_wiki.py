"""The server of MCP that examples of OpenAI's package ask about repositories, as a process that says `ready URL`."""

import uvicorn
from mcp.server import MCPServer
from mcp_server import Printed

server = MCPServer("wiki", version="1")


@server.tool()
def ask_wiki_question(repo: str, question: str) -> str:
    return "It is written in Rust."


if __name__ == "__main__":
    Printed(uvicorn.Config(server.streamable_http_app(), host="127.0.0.1", port=0, log_level="warning")).run()
