"""An MCP server that asks for OAuth, with its authorization server, both of the official MCP package for Python, as a process
that says `ready URL`: the oracle of how Frontdesk signs in.

`mcp_oauth_server.py SECONDS`: how long a token is good. Whoever comes to be let in is. `POST /end` ends all access tokens,
`POST /revoke` the others too; `GET /count` says how often tokens were given.
"""

import secrets
import socket
import sys
import time

import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.provider import (
    AccessToken, AuthorizationCode, OAuthAuthorizationServerProvider, RefreshToken, construct_redirect_uri,
)  # fmt: skip
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import Context
from mcp.shared.auth import OAuthToken
from starlette.responses import JSONResponse


class Authority(OAuthAuthorizationServerProvider):
    def __init__(self, seconds):
        self.seconds, self.given = seconds, {"authorization_code": 0, "refresh_token": 0}
        self.clients, self.codes, self.refresh, self.access = {}, {}, {}, {}

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client, params):
        code = secrets.token_urlsafe(32)
        self.codes[code] = AuthorizationCode(
            code=code, scopes=params.scopes or [], expires_at=time.time() + 60, client_id=client.client_id,
            code_challenge=params.code_challenge, redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly, resource=params.resource,
        )  # fmt: skip
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        del self.codes[authorization_code.code]
        return self.tokens("authorization_code", client, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client, refresh_token):
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(self, client, refresh_token, scopes):
        # Each is good once.
        del self.refresh[refresh_token.token]
        return self.tokens("refresh_token", client, scopes, refresh_token.resource)

    async def load_access_token(self, token):
        return self.access.get(token)

    async def revoke_token(self, token):
        pass

    def tokens(self, grant, client, scopes, resource):
        self.given[grant] += 1
        access, refresh = "acc-" + secrets.token_urlsafe(24), "ref-" + secrets.token_urlsafe(24)
        until = int(time.time()) + self.seconds
        self.access[access] = AccessToken(token=access, client_id=client.client_id, scopes=scopes, expires_at=until, resource=resource)
        self.refresh[refresh] = RefreshToken(token=refresh, client_id=client.client_id, scopes=scopes, resource=resource)
        return OAuthToken(access_token=access, token_type="Bearer", expires_in=self.seconds, refresh_token=refresh, scope=" ".join(scopes))


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    authority = Authority(int(sys.argv[1]))
    auth = AuthSettings(
        issuer_url=url, resource_server_url=f"{url}/mcp", required_scopes=["shop"], validate_token_resource=True,
        client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=["shop"], default_scopes=["shop"]),
    )  # fmt: skip
    server = MCPServer("shop", version="1", auth=auth, auth_server_provider=authority)

    @server.tool()
    def look(id: str) -> str:
        return f"{id} is shipped"

    @server.tool()
    def who(ctx: Context) -> str:
        return ctx.request_context.request.headers["authorization"]

    @server.custom_route("/end", methods=["POST"])
    async def end(request):
        authority.access.clear()
        return JSONResponse({})

    @server.custom_route("/revoke", methods=["POST"])
    async def revoke(request):
        authority.access.clear()
        authority.refresh.clear()
        return JSONResponse({})

    @server.custom_route("/count", methods=["GET"])
    async def count(request):
        return JSONResponse(authority.given)

    class Printed(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets=sockets)
            print(f"ready {url}/mcp", flush=True)

    Printed(uvicorn.Config(server.streamable_http_app(), log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
