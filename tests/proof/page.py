from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver.common.by import By

from .browser import Visit
from .browser import visiting
from .report import Row
from .report import Tally
from .scenarios import ITEMS
from .scenarios import save
from .service import Origin
from .service import Service

# commands of the DevTools protocol that withhold a file, and that restore it
Command = tuple[str, dict[str, object]]
API = f"*{ITEMS}*"
REFUSE: Command = ("Network.setBlockedURLs", {"urls": [API]})
REFUSE_SCRIPT: Command = ("Network.setBlockedURLs", {"urls": ["*/items.js*"]})
ALLOW: Command = ("Network.setBlockedURLs", {"urls": []})
HOLD: Command = ("Fetch.enable", {"patterns": [{"urlPattern": API}]})
RELEASE: Command = ("Fetch.disable", {})


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Withhold the list and the script from the page, and read its text."""
    service.migrate()
    with Origin(service, "guarded", "--workers", "2").serving() as origin:
        save(origin.url, "Saved before the page was opened")
        with visiting(origin, scratch) as visit:
            visit.driver.execute_cdp_cmd("Network.enable", {})
            yield withhold_list(visit, "list refused", REFUSE, ALLOW)
            yield withhold_list(visit, "list never sent", HOLD, RELEASE)
            yield withhold_confirmation(visit)
            visit.driver.execute_cdp_cmd(*REFUSE_SCRIPT)
            yield withhold_script(visit, "script refused")
        flag = "--blink-settings=scriptEnabled=false"
        with visiting(origin, scratch, flag) as visit:
            yield withhold_script(visit, "no JavaScript")


def withhold_list(visit: Visit, name: str, withhold: Command, restore: Command) -> Row:
    """Check that the page reports a missing list, and loads it on a second try."""
    row = begin(name, checks=2)
    visit.driver.execute_cdp_cmd(*withhold)
    visit.driver.get(f"{visit.url}/")
    if not visit.wait(lambda: "The list could not be loaded." in text(visit)):
        row.fail(
            f"the page does not say that the list could not be loaded: {text(visit)}"
        )
    if "Nothing saved" in text(visit):
        row.fail("the page says that nothing is saved.")
    visit.driver.execute_cdp_cmd(*restore)
    if not row.failures:
        visit.driver.find_element(By.ID, "retry").click()
        if not visit.wait(lambda: "Saved before" in text(visit)):
            row.fail(f"a second try does not show the list: {text(visit)}")
    return row


def withhold_confirmation(visit: Visit) -> Row:
    """Check that the page reports a save without a response as uncertain."""
    row = begin("save never confirmed")
    visit.open()
    visit.driver.execute_cdp_cmd(*HOLD)
    visit.driver.find_element(By.NAME, "name").send_keys("Quarterly report")
    visit.driver.find_element(By.CSS_SELECTOR, "#save-form button").click()
    if not visit.wait(lambda: "It may not have been saved." in text(visit)):
        row.fail(f"the page does not say that the save is uncertain: {text(visit)}")
    visit.driver.execute_cdp_cmd(*RELEASE)
    return row


def withhold_script(visit: Visit, name: str) -> Row:
    """Check that a page without its script does not say that it is loading."""
    row = begin(name, checks=2)
    visit.driver.get(f"{visit.url}/")
    if not visit.wait(lambda: "This page needs JavaScript" in text(visit)):
        row.fail(f"the page does not say what it needs: {text(visit)}")
    if "Loading" in text(visit):
        row.fail("the page says that it is loading.")
    return row


def begin(name: str, checks: int = 1) -> Row:
    row = Row("chromium", f"page: {name}", checks=checks, counted=False)
    row.service = Tally(requests=1)
    return row


def text(visit: Visit) -> str:
    """Return the visible text of the page, in one line."""
    return " ".join(visit.driver.find_element(By.TAG_NAME, "main").text.split())
