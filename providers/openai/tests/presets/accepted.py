"""Reads out of servers' own sources which members of a request they know, and at which paths they listen.

Run by hand when a row of the table changes or a server may have:

    python accepted.py VLLM LLAMA_CPP OLLAMA TEI > servers.json

Each is an unpacked source, told of as `FOLDER=NAME AND VERSION`: vLLM's and llama-cpp-python's source packages (the
latter holds llama.cpp itself), checkouts of Ollama and text-embeddings-inference.
"""

import ast
import json
import re
import sys
from pathlib import Path


def text(folder, *globs):
    files = sorted(file for glob in globs for file in Path(folder).glob(glob))
    assert files, f"{folder}: nothing at {globs}"
    return "\n".join(file.read_text() for file in files)


def vllm(folder):
    root = "vllm/entrypoints"
    source = text(folder, f"{root}/openai/**/protocol.py", f"{root}/pooling/**/protocol.py", f"{root}/serve/tokenize/protocol.py")
    classes = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}

    def fields(name):
        if name not in classes:
            return set()
        own = {item.target.id for item in classes[name].body if isinstance(item, ast.AnnAssign)}
        return own.union(*(fields(base.id) for base in classes[name].bases if isinstance(base, ast.Name)))

    kinds = {"chat": "ChatCompletionRequest", "completions": "CompletionRequest", "embeddings": "EmbeddingCompletionRequest", "rerank": "RerankRequest", "count": "TokenizeChatRequest"}
    routes = text(folder, f"{root}/**/*.py")
    return set(re.findall(r'\.post\(\s*"([^"]+)"', routes)), {kind: fields(name) for kind, name in kinds.items()}


def llama_cpp(folder):
    """One reader for all kinds, so all share their members."""
    source = text(folder, *(f"**/tools/server/server-{part}.cpp" for part in ("common", "context", "models", "schema")))
    read = r'json_value\(\s*(?:data|body|llama_params), "(\w+)"|\b(?:data|body)\.(?:at|contains|find)\("(\w+)"|field_\w+\("(\w+)"|add_alias\("(\w+)"'
    members = {name for names in re.findall(read, source) for name in names if name}
    paths = set(re.findall(r'ctx_http\.post\s*\("([^"]+)"', text(folder, "**/tools/server/server.cpp")))
    return paths, dict.fromkeys(("chat", "completions", "embeddings", "rerank", "count"), members)


def ollama(folder):
    source = text(folder, "openai/openai.go")

    def tags(name):
        (body,) = re.findall(rf"type {name} struct \{{(.*?)\n\}}", source, re.S)
        return set(re.findall(r'`json:"(\w+)', body))

    kinds = {"chat": "ChatCompletionRequest", "completions": "CompletionRequest", "embeddings": "EmbedRequest"}
    paths = set(re.findall(r'\.POST\("([^"]+)"', text(folder, "server/routes.go")))
    return paths, {kind: tags(name) for kind, name in kinds.items()}


def tei(folder):
    page = json.loads(text(folder, "docs/openapi.json"))
    schemas = page["components"]["schemas"]
    kinds = {"embeddings": "OpenAICompatRequest", "rerank": "RerankRequest"}
    return set(page["paths"]), {kind: set(schemas[name]["properties"]) for kind, name in kinds.items()}


def main():
    out = []
    for read, told in zip((vllm, llama_cpp, ollama, tei), sys.argv[1:], strict=True):
        folder, _, oracle = told.partition("=")
        paths, kinds = read(folder)
        shared = [path for path in paths if re.search(r"(completions|embeddings|rerank|/input_tokens|/tokenize)$", path)]
        members = {kind: sorted(names) for kind, names in kinds.items()}
        out.append({"preset": read.__name__, "oracle": oracle, "paths": sorted(shared), "members": members})
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
