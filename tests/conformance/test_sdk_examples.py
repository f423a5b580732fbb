"""The examples inside OpenAI's published packages for Python (`openai`, `openai-agents`), run unchanged against us.

They stand in the packages' source archives, which tests/run.sh fetches by name and hash (tests/examples.txt) and unpacks;
nothing of them is kept here. Their model is one that obliges (obliging.py), their clients are told to be strict
(examples/sitecustomize.py), so every answer and every event they get is checked against the package's own types. OpenAI's
package for Node carries no examples.

Every example is in `RUN` or in `LEFT_OUT` with its reason; one that a new version brings and that is in neither fails.
"""

import os
import subprocess
import sys
from pathlib import Path

import obliging
import pytest
import searxng

# Models that the examples name, and the default of openai-agents.
MODELS = [
    "gpt-4.1", "gpt-4o-2024-08-06", "gpt-4o-mini", "gpt-5", "gpt-5-mini", "gpt-5.2", "gpt-5.5", "gpt-5.6", "gpt-5.6-luna", "gpt-5.6-sol",
    "o3-mini",
]  # fmt: skip
# A net under a hung program, never a measurement.
PATIENCE_S = 120
HERE = Path(__file__).parent

OPENAI = [
    "async_demo.py", "demo.py", "httpx2_client.py", "parsing.py", "parsing_stream.py", "parsing_tools.py", "parsing_tools_stream.py",
    "responses/background.py", "responses/background_async.py", "responses/background_streaming.py",
    "responses/background_streaming_async.py", "responses/streaming.py", "responses/streaming_tools.py",
    "responses/structured_outputs.py", "responses/structured_outputs_tools.py", "responses_input_tokens.py", "streaming.py",
]  # fmt: skip
OPENAI_LEFT_OUT = {
    "another API: sound, pictures, films, uploads": ["audio.py", "image_stream.py", "picture.py", "speech_to_text.py", "text_to_speech.py", "uploads.py", "video.py"],
    "another cloud, or keys and certificates of one": [
        "azure.py", "azure_ad.py", "bedrock.py", "bedrock_runtime.py", "mtls_httpx.py", "mtls_httpx2.py", "mtls_httpx2_async.py",
        "mtls_httpx_async.py", "x509_workload_identity.py", "x509_workload_identity_async.py",
    ],
    "its address is a placeholder": ["module_client.py"],
    "no program by itself": ["responses/__init__.py"],
    "speaks over a web socket": ["responses_websocket.py", "responses/websocket.py", "responses/multi_agent_websocket.py"],
    "agents inside OpenAI's cloud, a beta": ["responses/multi_agent_streaming.py"],
    "a computer or a browser to use": ["browser/", "browser-use-demo/", "computer-desktop/"],
    "live sound": ["live/", "realtime/"],
}  # fmt: skip

AGENTS = [
    "agent_patterns/agents_as_tools.py", "agent_patterns/agents_as_tools_conditional.py", "agent_patterns/agents_as_tools_streaming.py",
    "agent_patterns/agents_as_tools_structured.py", "agent_patterns/deterministic.py", "agent_patterns/forcing_tool_use.py",
    "agent_patterns/human_in_the_loop.py", "agent_patterns/human_in_the_loop_custom_rejection.py", "agent_patterns/human_in_the_loop_server.py",
    "agent_patterns/human_in_the_loop_stream.py",
    "agent_patterns/input_guardrails.py", "agent_patterns/llm_as_a_judge.py", "agent_patterns/output_guardrails.py",
    "agent_patterns/parallelization.py", "agent_patterns/routing.py", "agent_patterns/streaming_guardrails.py",
    "basic/agent_lifecycle_example.py", "basic/dynamic_system_prompt.py", "basic/hello_world.py", "basic/hello_world_gpt_5.py",
    "basic/image_tool_output.py", "basic/remote_image.py", "basic/tool_guardrails.py", "basic/lifecycle_example.py", "basic/local_file.py", "basic/local_image.py", "basic/non_strict_output_type.py",
    "basic/previous_response_id.py", "basic/retry.py", "basic/stream_function_call_args.py", "basic/stream_items.py",
    "basic/stream_text.py", "basic/tools.py", "basic/trace_redaction.py", "basic/usage_tracking.py",
    "customer_service/main.py", "financial_research_agent/main.py", "handoffs/message_filter.py", "handoffs/message_filter_streaming.py",
    "memory/advanced_sqlite_session_example.py", "memory/compaction_session_example.py", "memory/compaction_session_stateless_example.py",
    "memory/encrypted_session_example.py", "memory/hitl_session_scenario.py", "memory/file_hitl_example.py", "memory/memory_session_hitl_example.py",
    "memory/openai_session_example.py", "memory/openai_session_hitl_example.py", "memory/sqlite_session_example.py",
    "hosted_mcp/human_in_the_loop.py", "hosted_mcp/on_approval.py", "hosted_mcp/simple.py",
    "mcp/prompt_server/main.py", "mcp/sse_example/main.py", "mcp/sse_remote_example/main.py", "mcp/streamable_http_remote_example/main.py",
    "mcp/streamablehttp_custom_client_example/main.py", "mcp/streamablehttp_example/main.py",
    "reasoning_content/main.py", "reasoning_content/runner_example.py", "research_bot/main.py", "tools/code_interpreter.py", "tools/file_search.py", "tools/web_search.py", "tools/web_search_filters.py",
    "model_providers/custom_example_agent.py", "model_providers/custom_example_global.py", "model_providers/custom_example_provider.py",
]  # fmt: skip
AGENTS_LEFT_OUT = {
    "no program by itself": ["__init__.py", "auto_mode.py", "run_examples.py", "web_search_utils.py", "memory/file_session.py", "reasoning_content/__init__.py"],
    "agents inside OpenAI's cloud, a beta": ["agent_patterns/hosted_multi_agent_beta.py"],
    "a prompt that stands in OpenAI's dashboard": ["basic/prompt_template.py"],
    "sends a file by its address (`file_url`), which is refused: nothing is fetched here": ["basic/remote_pdf.py"],
    "speaks over a web socket": ["basic/stream_ws.py"],
    "needs a package that is none of the SDK's, or another server": [
        "basic/hello_world_gpt_oss.py", "basic/retry_litellm.py", "memory/dapr_session_example.py", "memory/mongodb_session_example.py",
        "memory/redis_session_example.py", "memory/sqlalchemy_session_example.py", "model_providers/any_llm_auto.py",
        "model_providers/any_llm_provider.py", "model_providers/litellm_auto.py", "model_providers/litellm_provider.py",
        "reasoning_content/gpt_oss_stream.py",
    ],
    "no programs by themselves": ["financial_research_agent/", "hosted_mcp/__init__.py", "research_bot/"],
    "servers that examples start": [
        "mcp/prompt_server/server.py", "mcp/sse_example/server.py", "mcp/streamablehttp_custom_client_example/server.py",
        "mcp/streamablehttp_example/server.py",
    ],
    "connectors and tools that are OpenAI's own, or a shell": [
        "hosted_mcp/connectors.py", "tools/apply_patch.py", "tools/codex.py", "tools/codex_same_thread.py", "tools/computer_use.py",
        "tools/container_shell_inline_skill.py", "tools/container_shell_skill_reference.py", "tools/image_generator.py",
        "tools/local_shell_skill.py", "tools/programmatic_tool_calling.py", "tools/shell.py", "tools/shell_human_in_the_loop.py",
        "tools/skills/", "tools/tool_search.py",
    ],
    "fetches its server of MCP from npm or PyPI as it runs (`npx -y`, `uvx`)": [
        "mcp/filesystem_example/main.py", "mcp/get_all_mcp_tools_example/main.py", "mcp/git_example/main.py", "mcp/tool_filter_example/main.py",
    ],
    "a web application, of a framework that is none of the SDK's, that waits to be asked; its own test asks no model": ["mcp/manager_example/"],
    "live sound": ["live/", "realtime/", "voice/"],
    "a computer to work in": ["sandbox/"],
    "an endpoint of its own at OpenAI": ["decisions/"],
}  # fmt: skip
# What is compacted holds the user's messages, as the package's documentation says; its type for it has none of them.
LENIENT = ["memory/compaction_session_example.py", "memory/compaction_session_stateless_example.py"]
# What is typed into an example that cannot answer itself: by itself it uses one client in two event loops.
TYPED = {"basic/previous_response_id.py": "y\n"}


def examples(package):
    """The folder with the package's examples."""
    unpacked = os.environ.get("FRONTDESK_SDISTS")
    if not unpacked:
        why = "no source archives: tests/run.sh fetches them (FRONTDESK_SDISTS)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    found = [path for path in Path(unpacked).glob(f"{package}-*/examples") if path.is_dir()]
    assert len(found) == 1, found
    return found[0]


# What a search of the web finds: a page that an example wants among its sources.
PAGE = {"title": "A model", "url": "https://developers.openai.com/api/docs/models/gpt-5.6-sol", "content": "It is said to be a model."}


# What the model is told for examples that end badly where it understands nothing.
TOLD = [
    ("subject 'Welcome'", "send_email", {"to": "john@example.com", "subject": "Welcome", "body": "Welcome to our service."}),
    ("subject 'Introduction'", "send_email", {"to": "john@example.com", "subject": "Introduction", "body": "Introducing ACME corp."}),
    ("user ID user123", "get_user_data", {"user_id": "user123"}),
    ("contact info for user456", "get_contact_info", {"user_id": "user456"}),
    ("Fetch profile for customer 104.", "approved_echo", {"query": "Fetch profile for customer 104."}),
    ("Update note for customer 104.", "approved_note", {"query": "Update note for customer 104."}),
    ("Delete note for customer 104.", "approved_echo", {"query": "Delete note for customer 104."}),
    ("You are a meticulous evidence auditor", None, {"verified": True, "issues": []}),
]
# What an example prints where it went as it was meant to; others say it by their end.
PRINTED = {
    "responses_input_tokens.py": [f"input tokens: {obliging.TOKENS}"],
    "basic/tool_guardrails.py": ["\u2705 Successful tool execution", "Output guardrail triggered", "Rejecting function tool output"],
    # The picture's address, which the model says where it was shown it.
    "basic/image_tool_output.py": ["Image tool called", "https://images.unsplash.com/photo-1505761671935-60b3a7427bad"],
    "financial_research_agent/main.py": ["verified=True"],
    **{f"mcp/{name}/main.py": ["[debug-server] add(1, 1)"] for name in ("sse_example", "sse_remote_example", "streamablehttp_custom_client_example", "streamablehttp_example")},
    "mcp/prompt_server/main.py": ["Generated instructions"],
    "reasoning_content/main.py": [obliging.THOUGHT], "reasoning_content/runner_example.py": [obliging.THOUGHT],
}  # fmt: skip


@pytest.fixture(scope="module")
def served(another_frontdesk, program):
    upstream, engine = obliging.serve(TOLD), searxng.serve([PAGE])
    url = f"http://127.0.0.1:{upstream.server_port}/v1"
    up = f'{{ id: up, type: openai, config: {{ preset: openai, base_url: "{url}", api_key: upstream-key, models: [obliging] }} }}'
    routes = [f"{{ id: {model}, targets: [ {{ model: up/obliging }} ] }}" for model in MODELS]
    tools = [
        f'{{ id: search, type: searxng, config: {{ base_url: "{engine.url}" }} }}',
        '{ id: servers, type: mcp, config: { inside: ["127.0.0.1"], request_servers: true } }',
        "{ id: code, type: code_interpreter }",
    ]
    desk = another_frontdesk(up, models=routes, tools=tools)
    desk.wiki = program(sys.executable, HERE / "mcp_wiki.py").url
    yield desk
    upstream.shutdown()
    engine.shutdown()


def run(served, folder, name, home):
    """Runs an example to its end, which is a good one."""
    env = {
        # With a `uv` that runs a server by this Python.
        "PATH": os.pathsep.join([str(HERE / "examples/bin"), os.environ["PATH"]]), "EXAMPLE_PYTHON": sys.executable,
        "HOME": str(home), "NO_PROXY": "*", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(folder.parent)] if name in LENIENT else [str(HERE / "examples"), str(folder.parent)]),
        "OPENAI_BASE_URL": served.v1, "OPENAI_API_KEY": served.key,
        # The examples of openai-agents then answer their own questions, and send nothing to OpenAI's collector.
        "EXAMPLES_INTERACTIVE_MODE": "typed" if name in TYPED else "auto", "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "EXAMPLE_MCP_SERVER": served.wiki, "EXAMPLE_ASKS_MCP": "1" if name.startswith("mcp/") else "", "EXAMPLE_BASE_URL": served.v1, "EXAMPLE_API_KEY": served.key, "EXAMPLE_MODEL_NAME": "gpt-4.1",
    }  # fmt: skip
    # As a module: some import their neighbours.
    module = f"examples.{name.removesuffix('.py').replace('/', '.')}"
    done = subprocess.run(
        [sys.executable, "-m", module], env=env, cwd=home, text=True, timeout=PATIENCE_S,
        input=TYPED.get(name, ""), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in done.stdout, done.stdout[-6000:]
    for words in PRINTED.get(name, []):
        assert words in done.stdout, done.stdout[-6000:]


@pytest.mark.parametrize("name", OPENAI)
def test_an_example_of_openai(served, name, tmp_path):
    run(served, examples("openai"), name, tmp_path)


@pytest.mark.parametrize("name", AGENTS)
def test_an_example_of_openai_agents(served, name, tmp_path):
    if "code_interpreter" in name and not os.environ.get("FRONTDESK_INTERPRETERS"):
        assert not os.environ.get("CI"), "FRONTDESK_INTERPRETERS names no folder of built interpreters"
        pytest.skip("FRONTDESK_INTERPRETERS names no folder of built interpreters")
    if "code_interpreter" in name:
        # An interpreter is compiled when it is first used, which a build without optimisation takes its time for.
        served.http.post("/v1/tool-runtime/invoke", json={"tool_name": "code_interpreter", "kwargs": {"code": "1"}}, timeout=None)
    run(served, examples("openai_agents"), name, tmp_path)


@pytest.mark.parametrize(("package", "run_here", "left_out"), [("openai", OPENAI, OPENAI_LEFT_OUT), ("openai_agents", AGENTS, AGENTS_LEFT_OUT)])
def test_every_example_is_run_or_left_out_for_a_reason(package, run_here, left_out):
    folder = examples(package)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.py")}
    known = set(run_here) | {name for names in left_out.values() for name in names}
    folders = tuple(name for name in known if name.endswith("/"))
    files = {name for name in known if not name.endswith("/")}
    assert {name for name in there if name not in files and not name.startswith(folders)} == set(), "neither run nor left out"
    assert files - there == set(), "gone"


def listed(names):
    """By their folders, those of none first."""
    folders = {}
    for name in sorted(names):
        folder, _, file = name.removesuffix(".py").rpartition("/")
        folders.setdefault(folder, []).append(f"`{file}`")
    return "; ".join((f"{folder}: " if folder else "") + ", ".join(files) for folder, files in sorted(folders.items()))


@pytest.mark.parametrize(("package", "run_here"), [("openai", OPENAI), ("openai-agents", AGENTS)])
def test_the_documentation_names_those_that_run(package, run_here):
    line = f"{len(run_here)} of its examples: {listed(run_here)}."
    page = Path(__file__).parents[2] / "docs/clients/openai.md"
    assert any(row.startswith(f"- `{package}` ") and row.endswith(line) for row in page.read_text().splitlines()), line
