"""Between the component's world and its tools: collects them, describes them, calls them.

Nothing a tool raises leaves `call` as it is: an exception that the world does not know would end the component as a
crash, and the model would read no reason. Everything imported at the top of a module is part of the component; there is
no file system at run time, so nothing can be imported later. Clocks, `random` and `secrets` work there as anywhere, but
not at the top of a module: what is drawn or read there stands still in the component. `describe` has to say the same each
time, so clocks stand still while it runs.
"""

import json
from collections.abc import Callable
from typing import Any, Literal

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports import tools as exported


class ToolError(Exception):
    """Why a tool could not do it. The model reads the text."""


class BadArguments(ToolError):
    """The arguments make no sense, beyond what the schema says. The model reads the text and may try again."""


_tools: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {}


def tool(
    description: str,
    parameters: dict[str, Any],
    *,
    effect: Literal["none", "idempotent", "unsafe"] = "unsafe",
    risk: Literal["read", "low_impact_write", "approval_required"] = "low_impact_write",
    keep: Literal["nothing", "conversation"] = "nothing",
):
    """Makes a function a tool of its name. `parameters` is the JSON Schema of its arguments.

    `effect` says what a second call does to the world, `risk` how much a call can hurt: one that is
    `approval_required` waits for a person. With `keep="conversation"` what it has in variables is there for the
    conversation's next call, most of the time.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        about = {"name": name, "description": description, "parameters": parameters, "effect": effect, "risk": risk}
        if keep != "nothing":
            about["keep"] = keep
        _tools[name] = (about, function)
        return function

    return register


class Tools(wit_world.exports.Tools):
    def describe(self) -> str:
        return json.dumps([about for about, _ in _tools.values()])

    def call(self, name: str, args: str) -> str:
        try:
            if name not in _tools:
                raise BadArguments(f"no tool is called {name}")
            return json.dumps(_tools[name][1](**json.loads(args)), ensure_ascii=False)
        except BadArguments as error:
            raise Err(exported.Error_BadArguments(str(error))) from None
        except ToolError as error:
            raise Err(exported.Error_Failed(str(error))) from None
        except Exception as error:
            raise Err(exported.Error_Failed(f"{type(error).__name__}: {error}")) from None
