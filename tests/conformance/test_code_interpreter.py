"""The code interpreter with the official clients: OpenAI's as a tool of Responses, Llama Stack's as a tool group.

The model is scripted: it asks for code to be run. What runs the code is real.
"""

import json
import os
import re
from pathlib import Path

import openai
import pytest
from openai.types.responses import Response

from response_stream import stream_of
from test_responses import MODEL, sent

TOOL = {"type": "code_interpreter", "container": {"type": "auto"}}
OUTPUTS = ["code_interpreter_call.outputs"]


@pytest.fixture(autouse=True)
def _interpreters():
    if not os.environ.get("FRONTDESK_INTERPRETERS"):
        assert not os.environ.get("CI"), "FRONTDESK_INTERPRETERS names no folder of built interpreters"
        pytest.skip("FRONTDESK_INTERPRETERS names no folder of built interpreters (providers/wasm/interpreters/build.sh)")


def runs(code, **more):
    return {"reply": {"tool_call": {"name": "code_interpreter", "arguments": {"code": code, **more}}}}


def says(text):
    return {"reply": {"text": text}}


def test_code_is_run_shown_and_told_to_the_model(openai_client, scripted):
    scripted.script([runs("import statistics\nprint('rows', 3)\nstatistics.mean([20, 22, 84])"), says("The mean is 42.")])
    response = openai_client.responses.create(model=MODEL, input="the mean?", tools=[TOOL], include=OUTPUTS)
    call, message = response.output
    assert (call.type, call.status) == ("code_interpreter_call", "completed")
    assert call.code.startswith("import statistics") and call.container_id.startswith("cntr_")
    assert [(o.type, o.logs) for o in call.outputs] == [("logs", "rows 3\n42")]
    assert message.content[0].text == "The mean is 42." and response.tools[0].type == "code_interpreter"
    offered, told = sent(scripted, 0)["tools"], sent(scripted, 1)["messages"][-1]
    assert [tool["function"]["name"] for tool in offered] == ["code_interpreter"]
    assert told["role"] == "tool" and json.loads(told["content"]) == {"stdout": "rows 3\n", "value": "42"}
    # Not asked for, not shown.
    assert openai_client.responses.retrieve(response.id).output[0].outputs is None
    again = openai_client.responses.retrieve(response.id, include=OUTPUTS)
    assert again.output == response.output


PAGE = Path(__file__).parents[2] / "docs/code-interpreter.md"
# Imports each, then tries what else the standard library of this Python has and the first did not bring along.
IMPORTS = """
import importlib, sys
there = lambda name: not fails(lambda: importlib.import_module(name))
def fails(do):
    try: do()
    except BaseException: return True
missing = [name for name in stated if not there(name)]
brought = {name.partition('.')[0] for name in sys.modules} | {name.partition('.')[0] for name in stated}
more = [name for name in sorted(sys.stdlib_module_names - brought) if not name.startswith('_') and there(name)]
(missing, more)
"""


def test_python_has_the_modules_that_the_page_names_and_no_others(frontdesk):
    stated = re.search(r"^Python has these modules, and no others: `([^`]+)`", PAGE.read_text(), re.MULTILINE)[1].split()
    assert len(stated) > 60 and len(stated) == len(set(stated))
    asked = {"tool_name": "code_interpreter", "kwargs": {"code": f"stated = {stated}\n{IMPORTS}"}}
    answer = frontdesk.http.post("/v1/tool-runtime/invoke", json=asked)
    assert answer.is_success, answer.text
    assert json.loads(answer.json()["content"]).get("value") == "([], [])", answer.text


def test_every_event_is_openais_and_a_replay_is_the_same(frontdesk, scripted):
    scripted.script([runs("6 * 7"), says("42")])
    asked = {"model": MODEL, "input": "6 * 7?", "tools": [TOOL], "stream": True, "include": OUTPUTS}
    seen = stream_of(frontdesk, "/v1/responses", "POST", json=asked)
    names = [name.removeprefix("response.") for name, _, _ in seen]
    assert names[2:9] == [
        "output_item.added", "code_interpreter_call.in_progress", "code_interpreter_call_code.delta",
        "code_interpreter_call_code.done", "code_interpreter_call.interpreting", "code_interpreter_call.completed",
        "output_item.done",
    ]  # fmt: skip
    assert seen[4][2]["delta"] == seen[5][2]["code"] == "6 * 7"
    final = Response.model_validate(seen[-1][2]["response"])
    assert final.output[0].outputs[0].logs == "42"
    query = f"/v1/responses/{final.id}?stream=true&include={OUTPUTS[0]}"
    assert stream_of(frontdesk, query) == seen


def test_variables_stay_for_the_responses_that_continue_each_other(openai_client, scripted):
    def ask(code, **more):
        scripted.script([runs(code), says("done")])
        response = openai_client.responses.create(model=MODEL, input="go on", tools=[TOOL], include=OUTPUTS, **more)
        return response.id, response.output[0].outputs[0].logs

    first, _ = ask("x = 41\nopen('note.txt', 'w').write('kept')\n1")
    second, logs = ask("x += 1\nx", previous_response_id=first)
    assert logs == "42"
    assert ask("(x, open('note.txt').read())", previous_response_id=second)[1] == "(42, 'kept')"
    _, logs = ask("x")
    assert logs.endswith("NameError: name 'x' is not defined\n")
    conversation = openai_client.conversations.create()
    ask("y = 1\ny", conversation=conversation.id)
    assert ask("y + 1", conversation=conversation.id)[1] == "2"


def test_calls_of_one_answer_run_in_the_order_the_model_asked(openai_client, scripted):
    calls = [{"name": "code_interpreter", "arguments": {"code": code}} for code in ("n = 1", "n += 1; n", "n *= 10; n")]
    scripted.script([{"reply": {"tool_calls": calls}}, says("20")])
    response = openai_client.responses.create(model=MODEL, input="go", tools=[TOOL], include=OUTPUTS)
    assert [output.logs for item in response.output[1:3] for output in item.outputs] == ["2", "20"]


def test_files_of_the_client_are_in_the_working_folder(openai_client, scripted):
    file = openai_client.files.create(file=("orders.csv", b"id,total\n1,20\n2,22\n"), purpose="user_data")
    scripted.script([runs("import csv\nsum(int(r['total']) for r in csv.DictReader(open('orders.csv')))"), says("42 in all.")])
    tool = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [file.id]}}
    response = openai_client.responses.create(model=MODEL, input="how much?", tools=[tool], include=OUTPUTS)
    assert response.output[0].outputs[0].logs == "42"
    tool["container"]["file_ids"] = ["file_nowhere"]
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.responses.create(model=MODEL, input="how much?", tools=[tool])
    assert refused.value.param == "tools[0].container.file_ids[0]"


def test_code_that_does_not_end_is_told_so_and_the_turn_goes_on(openai_client, scripted):
    scripted.script([runs("while True: pass"), runs("[1, 2].map(x => x * 21)", language="javascript"), says("done")])
    response = openai_client.responses.create(model=MODEL, input="go", tools=[TOOL], include=OUTPUTS)
    assert [(i.type, i.status) for i in response.output] == [
        ("code_interpreter_call", "failed"), ("code_interpreter_call", "completed"), ("message", "completed"),
    ]  # fmt: skip
    assert "cpu time limit of 5000 ms" in response.output[0].outputs[0].logs
    assert response.output[1].outputs[0].logs == "[21, 42]"


def test_a_client_that_keeps_its_own_history_sends_calls_back(openai_client, scripted):
    scripted.script([runs("6 * 7"), says("42"), says("still 42")])
    asked = {"role": "user", "content": "6 * 7?"}
    response = openai_client.responses.create(model=MODEL, input=[asked], tools=[TOOL], include=OUTPUTS)
    items = [item.model_dump(exclude_unset=True) for item in response.output]
    openai_client.responses.create(model=MODEL, input=[asked, *items, {"role": "user", "content": "sure?"}])
    roles = [message["role"] for message in sent(scripted)["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


def test_an_agent_has_it_as_a_tool_group(frontdesk, scripted):
    llama_stack = pytest.importorskip("llama_stack_client")
    client = llama_stack.LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key)
    assert "builtin::code_interpreter" in [group.identifier for group in client.toolgroups.list()]
    tools = client.tools.list(toolgroup_id="builtin::code_interpreter")
    assert [tool.identifier for tool in tools] == ["code_interpreter"]
    result = client.tool_runtime.invoke_tool(tool_name="code_interpreter", kwargs={"code": "20 + 22"})
    assert json.loads(result.content)["value"] == "42"
    config = {"model": MODEL, "instructions": "You count.", "toolgroups": ["builtin::code_interpreter"]}
    agent = client.agents.create(agent_config=config).agent_id
    session = client.agents.session.create(agent, session_name="s").session_id

    def turn(*script):
        scripted.script([*script])
        message = {"role": "user", "content": "count"}
        with frontdesk.http.stream("POST", f"/v1/agents/{agent}/session/{session}/turn", json={"messages": [message], "stream": True}) as answer:
            answer.read()
            assert answer.is_success, answer.text
        return json.loads(sent(scripted)["messages"][-1]["content"])

    turn(runs("n = 41\nn"), says("kept"))
    assert turn(runs("n + 1"), says("counted"))["value"] == "42"
