"""The console page as a person uses it: make an agent from a template, talk to it, see each step unfold."""

import os
import pathlib

import pytest

SHOP_TOOLS = pathlib.Path(__file__).parents[2] / "services/gateway/demo/tools/shop-tools.wasm"


@pytest.fixture(scope="session")
def tools(frontdesk):
    """The sample shop's tools, registered once."""
    file = frontdesk.http.post(
        "/v1/files", files={"file": ("shop-tools.wasm", SHOP_TOOLS.read_bytes())}, data={"purpose": "assistants"}
    )
    assert file.is_success, file.text
    registration = {
        "toolgroup_id": "shop", "provider_id": "wasm", "args": {"component": file.json()["id"], "grants": ["kv"]},
    }  # fmt: skip
    made = frontdesk.http.post("/v1/toolgroups", json=registration)
    assert made.is_success, made.text


def test_make_an_agent_and_see_a_turn_unfold(page, frontdesk, scripted, tools, request):
    scripted.script([
        {"reply": {"tool_call": {"name": "lookup_order", "arguments": {"order_id": "48213"}}}},
        {"reply": {"text": "I could not find order 48213."}},
    ])  # fmt: skip
    size = "phone" if page.viewport_size["width"] < 500 else "desktop"
    page.goto(f"/#key={frontdesk.key}")
    page.get_by_role("button", name="New agent").click()
    page.get_by_role("button", name="Order desk").click()
    page.get_by_label("Name", exact=True).fill(f"Desk {size}")
    page.get_by_label("Model").select_option("up/scripted")
    page.get_by_role("button", name="Create").click()
    page.get_by_label("Your message").fill("Where is my order 48213?")
    page.get_by_role("button", name="Send").click()

    page.get_by_text("I could not find order 48213.").wait_for()
    page.get_by_text("Action lookup_order").wait_for()
    assert page.get_by_text('"order_id":"48213"').first.is_visible()
    assert page.get_by_text("not found").first.is_visible()
    page.get_by_text("Use it from code").click()
    assert page.get_by_text("client.agents.turn.create").is_visible()
    assert page.url.rstrip("/") == frontdesk.url, "the key has left the address"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out to the side"
    if folder := os.environ.get("FRONTDESK_SCREENSHOTS"):
        page.get_by_text("Use it from code").click()
        page.screenshot(path=f"{folder}/{size}.png")


def test_a_file_that_code_wrote_is_named_and_fetched(page, frontdesk, scripted):
    if not os.environ.get("FRONTDESK_INTERPRETERS"):
        assert not os.environ.get("CI"), "FRONTDESK_INTERPRETERS names no folder of built interpreters"
        pytest.skip("FRONTDESK_INTERPRETERS names no folder of built interpreters (providers/wasm/interpreters/build.sh)")
    name = f"Coder {page.viewport_size['width']}"
    config = {"model": "up/scripted", "instructions": "You count.", "name": name, "toolgroups": ["builtin::code_interpreter"]}
    assert frontdesk.http.post("/v1/agents", json={"agent_config": config}).is_success
    scripted.script([
        {"reply": {"tool_call": {"name": "code_interpreter", "arguments": {"code": "open('a.csv', 'w').write('1,2')"}}}},
        {"reply": {"text": "[a.csv](sandbox:/mnt/data/a.csv) and again sandbox:/mnt/data/a.csv"}},
    ])  # fmt: skip
    page.goto(f"/#key={frontdesk.key}")
    page.get_by_role("button", name=name).click()
    page.get_by_label("Your message").fill("Count.")
    page.get_by_role("button", name="Send").click()
    file = page.get_by_role("button", name="a.csv")
    file.wait_for()
    with page.expect_download() as fetched:
        file.click()
    assert fetched.value.suggested_filename == "a.csv"
    assert pathlib.Path(fetched.value.path()).read_bytes() == b"1,2"


def test_a_wrong_key_is_told(page):
    page.goto("/")
    page.get_by_label("API key").fill("fd_wrong")
    page.get_by_role("button", name="Open").click()
    page.locator("#door-error:not(:empty)").wait_for()
    assert page.get_by_role("button", name="New agent").is_hidden()
