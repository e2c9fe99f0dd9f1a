from __future__ import annotations

import json
import re
from datetime import date
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from nocache import Finding
from nocache import Route
from nocache.audit import formats
from nocache.audit.findings import CATALOGUE
from nocache.audit.findings import finding
from nocache.audit.version import VERSION
from pydantic import ValidationError
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema

HOSTILE = "<img src=x onerror=alert(1)>|`*_[a](b)</script>&amp;\"'"
FINDINGS = [
    finding("NC001", ("saved/pages.py", 7), "'pages.late'"),
    finding("NC007", ("a,b: 100%\r\n.py", 1), f"'{HOSTILE}'"),
]
ROUTES = [
    Route("/", "index", ("GET",), "no-store", "", "wsgi.py", 3),
    Route(
        f"/{HOSTILE}",
        HOSTILE,
        ("GET", "POST"),
        "public, max-age=60",
        HOSTILE,
        "wsgi.py",
        9,
    ),
]


class Page(HTMLParser):
    """The elements of a page, and the text of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "td" and data != "\n":
            self.cells[-1] += data


def cells_of_markdown(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    cells = []
    for before, token in zip(tokens, tokens[1:], strict=False):
        if before.type == "td_open":
            assert {child.type for child in token.children or ()} <= {
                "text",
                "text_special",
            }
            cells.append("".join(child.content for child in token.children or ()))
    return cells


def test_text_has_each_finding_with_its_hint() -> None:
    assert formats.text(FINDINGS[:1]).splitlines() == [
        "saved/pages.py:7: NC001 undeclared-route: 'pages.late' declares no cache policy.",
        f"    hint: {FINDINGS[0].hint}",
    ]


def test_text_without_findings_is_empty() -> None:
    assert formats.text([]) == ""


def test_table_aligns_its_columns() -> None:
    head, rule, first, *_ = formats.table(ROUTES).splitlines()
    assert head.index("Policy") == first.index("no-store")
    assert set(rule) == {"-", " "}


def test_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    route = ROUTES[0]._replace(policy="public, max-age=60, immutable", reason="#412")
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = formats.table([ROUTES[0], route]).splitlines()
    assert len(wide) == 4
    monkeypatch.setenv("COLUMNS", "60")
    narrow = formats.table([ROUTES[0], route]).splitlines()
    assert max(map(len, narrow)) <= 60 < max(map(len, wide))
    # nothing is lost
    assert " ".join(narrow).split()[-3:] == " ".join(wide).split()[-3:]


@pytest.mark.parametrize("items", [FINDINGS, ROUTES, []])
def test_json_holds_every_field(items: list[Finding] | list[Route]) -> None:
    expected = json.loads(json.dumps([item._asdict() for item in items]))
    assert json.loads(formats.as_json(items)) == expected


@pytest.mark.parametrize("items", [FINDINGS, []])
def test_sarif_follows_the_schema(items: list[Finding]) -> None:
    log = json.loads(formats.sarif(items))
    StaticAnalysisResultsFormatSarifVersion210JsonSchema.model_validate(log)


def test_sarif_schema_refuses_unknown_members() -> None:
    log = json.loads(formats.sarif(FINDINGS))
    log["runs"][0]["results"][0]["line"] = 7
    with pytest.raises(ValidationError):
        StaticAnalysisResultsFormatSarifVersion210JsonSchema.model_validate(log)


def test_sarif_lists_the_catalogue_and_refers_to_it() -> None:
    [run] = json.loads(formats.sarif(FINDINGS))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(CATALOGUE)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_places_are_uris_with_lines() -> None:
    items = [*FINDINGS, finding("NC002", ("/srv/a b.py", 4), "'app'")]
    [run] = json.loads(formats.sarif(items))["runs"]
    places = [r["locations"][0]["physicalLocation"] for r in run["results"]]
    assert [place["artifactLocation"]["uri"] for place in places] == [
        "saved/pages.py",
        "a%2Cb%3A%20100%25%0D%0A.py",
        "file:///srv/a%20b.py",
    ]
    assert [place["region"]["startLine"] for place in places] == [7, 1, 4]


def test_github_has_one_line_a_finding_with_escaped_delimiters() -> None:
    first, second = formats.github(FINDINGS).splitlines()
    assert first == (
        "::error file=saved/pages.py,line=7,title=NC001 undeclared-route"
        f"::'pages.late' declares no cache policy.%0Ahint: {FINDINGS[0].hint}"
    )
    assert second.startswith("::error file=a%2Cb%3A 100%25%0D%0A.py,line=1,title=")


def test_markdown_of_findings_has_every_field() -> None:
    where, name, message, hint, *_ = cells_of_markdown(formats.audit_markdown(FINDINGS))
    assert (where, name) == ("saved/pages.py:7", "NC001 undeclared-route")
    assert (message, hint) == (FINDINGS[0].message, FINDINGS[0].hint)


def test_markdown_of_routes_escapes_hostile_text() -> None:
    cells = cells_of_markdown(formats.routes_markdown(ROUTES))
    assert cells[5:] == [
        f"/{HOSTILE}",
        "GET,POST",
        "public, max-age=60",
        HOSTILE,
        HOSTILE,
    ]


def test_markdown_without_findings_is_the_sentence() -> None:
    assert formats.audit_markdown([]) == "No findings."


@pytest.mark.parametrize(
    ("page", "cells"),
    [
        (formats.routes_html(ROUTES, HOSTILE), [f"/{HOSTILE}", HOSTILE]),
        (
            formats.audit_html(FINDINGS, HOSTILE),
            [FINDINGS[1].message, FINDINGS[0].hint],
        ),
    ],
)
def test_html_escapes_hostile_text(page: str, cells: list[str]) -> None:
    parsed = Page(page)
    assert "img" not in parsed.tags
    assert "onerror" not in parsed.attributes
    assert parsed.tags.count("script") == 1
    assert set(cells) <= set(parsed.cells)


@pytest.mark.parametrize(
    "page", [formats.routes_html(ROUTES, "shop"), formats.audit_html(FINDINGS, "shop")]
)
def test_html_loads_no_resources(page: str) -> None:
    assert not re.search(r"(src|href)=[^x]|url\(|@import|https?:", page)


def test_html_buttons_have_counts() -> None:
    page = formats.routes_html(ROUTES, "shop")
    assert 'value="no-store" class="good">no-store (1)<' in page
    assert 'value="public, max-age=60" class="open">public, max-age=60 (1)<' in page
    assert 'value="NC001" class="bad">NC001 (1)<' in formats.audit_html(
        FINDINGS, "shop"
    )


def test_html_has_a_title_with_app_date_and_version() -> None:
    page = formats.audit_html(FINDINGS, "shop")
    when = f"{date.today().isoformat()}, nocache {VERSION}"
    assert f"<title>Cache audit of shop, {when}</title>" in page
    assert "<h1>Cache audit of shop</h1>" in page
    assert "<title>Cache policies of shop, " in formats.routes_html(ROUTES, "shop")


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (formats.audit_html([], "shop"), "No findings."),
        (formats.routes_html([], "shop"), "No routes."),
    ],
)
def test_html_without_rows_is_the_sentence(page: str, sentence: str) -> None:
    parsed = Page(page)
    assert parsed.tags[parsed.tags.index("main") :] == ["main", "h1", "p"]
    assert f"<p>{sentence}</p>" in page


def test_html_has_landmarks_and_pressed_buttons() -> None:
    page = formats.audit_html(FINDINGS, "shop")
    parsed = Page(page)
    assert parsed.tags.count("main") == parsed.tags.count("h1") == 1
    assert page.count("<button") == page.count('aria-pressed="false"') == 2


def test_html_never_breaks_a_file_from_its_line() -> None:
    items = [finding("NC001", ("saved/a-b/pages.py", 49), "'x'")]
    place = 'saved/<wbr>a-b/<wbr><span class="file">pages.py:49</span>'
    assert f"<td>{place}</td>" in formats.audit_html(items, "shop")
    assert ".file { white-space: nowrap }" in formats.audit_html(items, "shop")
