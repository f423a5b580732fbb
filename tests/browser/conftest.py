"""A page in the system's Chromium, headless, on a Frontdesk whose model is scripted.

`FRONTDESK_BROWSER` names the browser (tests/run.sh sets it). Its sandbox is off because root cannot use it.
Invariant: the page asks nothing of any address but Frontdesk's own, and logs no error.
"""

import os

import pytest
from playwright.sync_api import sync_playwright

# A net under a hung page, never a measurement.
PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=os.environ["FRONTDESK_BROWSER"], args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(params=["desktop", "phone"])
def page(request, chromium, frontdesk):
    """An empty page in a fresh profile, once as wide as a desk and once as a phone."""
    phone = request.param == "phone"
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}
    context = chromium.new_context(viewport=size, is_mobile=phone, has_touch=phone, base_url=frontdesk.url)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    outside, errors = [], []
    page.on("request", lambda r: None if r.url.startswith((frontdesk.url, "data:", "blob:")) else outside.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    yield page
    context.close()
    assert not outside, f"the page asked outside addresses: {outside}"
    assert not errors, f"the page threw: {errors}"
