"""What docs/edge.md of the service says, product by product."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location

import pytest
from conftest import Bake
from conftest import KIT
from conftest import Project
from conftest import QUESTIONS
from conftest import ROOT

PRODUCTS = """
    nginx, Varnish, Squid, Apache httpd, HAProxy, Envoy, Traefik, Cloudflare, Fastly,
    CloudFront, Akamai, Google Cloud CDN, Azure Front Door, Vercel, Netlify,
    Firebase Hosting
"""
# what make proof runs, and what in a guide shows that it is the setting that ran
PROVEN = {
    "nginx": ["proxy_ignore_headers Cache-Control Expires"],
    "Varnish": ["set beresp.ttl", "return (deliver)"],
    "Squid": ["ignore-no-store ignore-private override-expire", "offline_mode on"],
    "Apache httpd": [
        "Header set Cache-Control",
        "Header unset Expires",
        "Header unset Pragma",
    ],
    "HAProxy": [
        "http-response set-header Cache-Control max-age=",
        "http-response del-header Pragma",
    ],
}
SOURCE = re.compile(r"\(\[[^\]]+\]\(https://[^)\s]+\)|, \[[^\]]+\]\(https://[^)\s]+\)")


@pytest.fixture(scope="session")
def guides(baked: Project) -> dict[str, list[str]]:
    """The items of each product's guide."""
    entries = {}
    for section in re.split(r"^### ", baked.read("docs/edge.md"), flags=re.M)[1:]:
        name, _, text = section.partition("\n")
        text = re.split(r"^## ", text, flags=re.M)[0]
        entries[name] = re.split(r"^- ", text, flags=re.M)[1:]
    return entries


@pytest.fixture(scope="session")
def settings() -> set[tuple[str, str]]:
    """The products and settings of the kit's own table, read as it is."""
    spec = spec_from_file_location("edge_settings", KIT / "audit" / "edge_settings.py")
    assert spec is not None and spec.loader is not None
    table = sys.modules["edge_settings"] = module_from_spec(spec)
    spec.loader.exec_module(table)
    listed = {(setting.product, setting.text) for setting in table.SETTINGS}
    return listed | set(table.HOSTS.values())


def test_every_product_has_a_guide(guides: dict[str, list[str]]) -> None:
    assert list(guides) == [name.strip() for name in PRODUCTS.split(",")]


def test_every_guide_says_what_defeats_where_to_look_and_the_remedy(
    guides: dict[str, list[str]],
) -> None:
    for name, (setting, find, instead) in guides.items():
        assert SOURCE.search(setting), name
        assert find.startswith("Find: `"), name
        assert instead.startswith("Instead: "), name


def test_every_statement_about_a_product_has_a_source(
    guides: dict[str, list[str]],
) -> None:
    """But for what the proof measured."""
    measured = ("`ignore-no-store` alone",)
    for items in guides.values():
        for line in items[0].strip().splitlines():
            assert SOURCE.search(line) or line.strip().startswith(measured), line


def test_guide_and_audit_have_the_same_settings(
    guides: dict[str, list[str]], settings: set[tuple[str, str]]
) -> None:
    assert {product for product, _ in settings} == guides.keys()
    for product, setting in settings:
        assert setting in guides[product][0], product


def test_every_setting_that_defeats_by_name_is_known_to_the_audit(
    guides: dict[str, list[str]], settings: set[tuple[str, str]]
) -> None:
    """What stands in code as the setting, but for what belongs to it or is no setting."""
    patterns = " ".join(setting for _, setting in settings)
    for name, (defeated, *_) in guides.items():
        for code in re.findall(r"[Dd]efeated by (?:a |an )?`([^`]+)`", defeated):
            assert code in patterns or any(
                s in code for p, s in settings if p == name
            ), code


def test_what_the_proof_runs_is_what_the_guide_says(
    guides: dict[str, list[str]],
) -> None:
    proof = (ROOT / "tests" / "proof" / "edge_settings.py").read_text("utf-8")
    for name, settings in PROVEN.items():
        for setting in settings:
            assert setting in guides[name][0], name
            assert setting in proof, name


def test_searches_for_field_names_ignore_case(baked: Project) -> None:
    searches = re.findall(
        r"^- Find: .*grep (-\w+) '(.*?)'", baked.read("docs/edge.md"), re.M
    )
    options = [o for o, pattern in searches if "cache-control" in pattern.lower()]

    assert len(options) >= 5
    assert [option for option in options if "i" not in option] == []


@pytest.mark.parametrize("deploy", QUESTIONS["deploy"])
def test_the_guide_is_found(bake: Bake, deploy: str) -> None:
    baked = bake(deploy=deploy)
    guide = baked.read("docs/edge.md")

    assert "(docs/edge.md)" in baked.read("README.md")
    assert "(edge.md)" in baked.read("docs/caching.md")
    # the rule is in a file or on the page
    assert ("nginx-no-store.conf" in guide) != ("map $upstream" in guide)
    assert "flask nocache probe https://" in guide
    for path in re.findall(r"`(deploy/[\w./-]+)`", guide):
        assert baked.has(path), path
    for link in re.findall(r"\]\((?!http)([^)#]+)", guide):
        assert baked.has(f"docs/{link}"), link
