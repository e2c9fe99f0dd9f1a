"""NC013: templates and scripts that make the browser keep copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache.audit.policy_file import write_policy_file
from nocache.audit.source import spot

HOUR = cacheable(max_age=3600, reason="changes yearly; #412")
OPEN = 'caches.open("v1")'
SCRIPTS = [
    'fetch("/api/items", {cache: "force-cache"})',
    "fetch('/api/items', {method: 'GET', \"cache\": 'only-if-cached'})",
    "fetch(`/api/items/${id}`, {cache: `force-cache`})",
    "window.fetch(url, {...options, cache: 'force-cache'})",
    "await fetch(url, Object.assign({}, base, {cache: 'force-cache'}))",
    "const asked = new Request(url, {cache: 'force-cache'});",
    "const options = {cache: 'force-cache'}; fetch(url, options)",
    "let options = {}; options.cache = 'force-cache'; fetch(url, options)",
    "function send(url, options) { return fetch(url, options); }"
    " send(url, {cache: 'force-cache'})",
    "const text = `is ${await fetch(url, {cache: 'force-cache'})}`;",
    "const half = total / 2; fetch(url, {cache: 'force-cache'}) / 2",
    "/[\"'/]/.test(x); fetch(url, {cache: 'force-cache'})",
    f"{OPEN}.then((cache) => cache.put('/api/items', response))",
    f"{OPEN}.then(cache => cache.put(request, response.clone()))",
    f"{OPEN}.then(async function (c) {{ await c.put(request, response) }})",
    f"const kept = await {OPEN}; await kept.put(request, response);",
    f"(await {OPEN}).put(request, response)",
    f"{OPEN}.then((cache) => cache.addAll(['/', '/static/page.js']))",
    f"const FILES = ['/api/items']; {OPEN}.then((cache) => cache.addAll(FILES))",
    f"{OPEN}.then((cache) => cache.add('/list.json'))",
    "registerRoute(({url}) => url.pathname.startsWith('/api/'), new NetworkFirst())",
    "registerRoute(/\\/api\\//, new workbox.strategies.StaleWhileRevalidate())",
]
HARMLESS_SCRIPTS = [
    "// fetch(url, {cache: 'force-cache'})",
    "/* fetch(url, {cache: 'force-cache'}) */",
    "const help = \"fetch(url, {cache: 'force-cache'})\";",
    "const help = `fetch(url, {cache: 'force-cache'})`;",
    "if (/cache: 'force-cache'/.test(text)) fetch(text)",
    "const MODES = ['force-cache', 'reload']; fetch(url, {cache: 'no-store'})",
    "if (mode.cache === 'force-cache') fetch(url)",
    "type Mode = {cache: 'force-cache' | 'no-store'}; fetch(url)",
    "fetch('/static/map.json', {cache: 'force-cache'})",
    "fetch('/countries.json', {cache: 'force-cache'})",
    "fetch('https://fonts.example.com/a.json', {cache: 'force-cache'})",
    "database.fetch(key, {cache: 'force-cache'})",
    "navigator.serviceWorker.register('/sw.js')",
    f"// {OPEN}.then((cache) => cache.put(url, response))",
    "this.cache.put(address, snapshot); store.cache.add(1)",
    f"{OPEN}.then((cache) => cache.addAll(['/static/page.js']))",
    f"{OPEN}.then((cache) => cache.match(url)); names.add(url)",
    f"if (url.startsWith('/static/')) {OPEN}.then((cache) => cache.put(url, response))",
    "caches.keys().then((names) => names.forEach((name) => caches.delete(name)))",
    "registerRoute(({request}) => request.destination === 'image', new CacheFirst())",
    "registerRoute(/\\.(?:png|css)$/, new CacheFirst())",
    "registerRoute(({url}) => url.pathname.endsWith('.png'), new CacheFirst())",
    "registerRoute(isImage, new CacheFirst())",
    "const said = \"don't\"; // it's {cache: 'force-cache'}\nfetch(url)",
]
PAGES = [
    '<link rel="preload" as="fetch" href="/api/items">',
    "<LINK REL=preload AS=fetch crossorigin HREF=/list.json>",
    """<link rel="preload" as="fetch" href="{{ url_for("api.list_items") }}">""",
    """<link rel='prefetch' href='{{ url_for("api.item", id=1) }}'>""",
    '<link rel="prefetch" href="/api/items?page=2">',
    '<link rel="prefetch" href="/api/not-there-yet">',
    "{% if 2 > 1 %}<link rel=preload as=fetch href=/api/items>{% endif %}",
    "<script>fetch(url, {cache: 'force-cache'})</script>",
    "<script type=module>fetch(url, {cache: 'force-cache'})</script>",
    """<button onclick="fetch('/api/items', {cache: 'force-cache'})">x</button>""",
    """<script>fetch("{{ url_for('api.list_items') }}", {cache: 'force-cache'})</script>""",
]
HARMLESS_PAGES = [
    '<!-- <link rel="preload" as="fetch" href="/api/items"> -->',
    '{# <link rel="preload" as="fetch" href="/api/items"> #}',
    '<link rel="preload" as="style" href="/static/style.css">',
    '<link rel="preload" as="fetch" href="/static/map.json">',
    """<link rel="preload" as="fetch" href="{{ url_for('static', filename='a') }}">""",
    """<link rel="preload" as="fetch" href="{{ url_for('countries') }}">""",
    '<link rel="preload" as="fetch" href="{{ address }}">',
    '<link rel="preload" as="fetch" href="https://cdn.example.com/map.json">',
    '<link rel="prefetch" href="/about">',
    '<link rel="dns-prefetch" href="/api/items">',
    '<a rel="prefetch" href="/api/items">next</a>',
    '<textarea><link rel="preload" as="fetch" href="/api/items"></textarea>',
    '<template><link rel="prefetch" href="/api/items"></template>',
    '<pre>&lt;link rel="preload" as="fetch" href="/api/items"&gt;</pre>',
    '<script type="text/x-template"><link rel="prefetch" href="/api/items"></script>',
    '<script type="application/json">{"cache": "force-cache"}</script>',
    "<script>// fetch(url, {cache: 'force-cache'})\n</script>",
    "<p>fetch(url, {cache: 'force-cache'})</p>",
]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoCacheFlask:
    monkeypatch.chdir(tmp_path)
    app = NoCacheFlask("kit_app")
    api = ApiBlueprint("api", __name__)
    api.get("/items", endpoint="list_items")(lambda: {})
    api.get("/items/<int:id>", endpoint="item")(lambda id: {})
    app.register_blueprint(api, url_prefix="/api")
    app.get("/countries.json", endpoint="countries")(HOUR(lambda: {}))
    app.get("/list.json", endpoint="list")(nocache(lambda: {}))
    write_policy_file(app)
    return app


def audit_file(app: Flask, name: str, text: str) -> list[tuple[str, str, int]]:
    (Path.cwd() / name).write_text(f"\n{text}\n", encoding="utf-8")
    return [(f.id, f.path, f.line) for f in audit_app(app)]


@pytest.mark.parametrize("script", SCRIPTS)
def test_nc013_script(app: NoCacheFlask, script: str) -> None:
    assert audit_file(app, "page.js", script) == [("NC013", "page.js", 2)]


@pytest.mark.parametrize("script", HARMLESS_SCRIPTS)
def test_nc013_script_noop(app: NoCacheFlask, script: str) -> None:
    assert audit_file(app, "page.js", script) == []


@pytest.mark.parametrize("page", PAGES)
def test_nc013_page(app: NoCacheFlask, page: str) -> None:
    assert audit_file(app, "page.html", page) == [("NC013", "page.html", 2)]


@pytest.mark.parametrize("page", HARMLESS_PAGES)
def test_nc013_page_noop(app: NoCacheFlask, page: str) -> None:
    assert audit_file(app, "page.html", page) == []


@pytest.mark.parametrize("script", SCRIPTS + HARMLESS_SCRIPTS)
def test_half_written_script_is_read(script: str) -> None:
    for end in range(len(script)):
        list(spot("page.js", script[:end]))


@pytest.mark.parametrize("page", PAGES + HARMLESS_PAGES)
def test_half_written_page_is_read(page: str) -> None:
    for end in range(len(page)):
        list(spot("page.html", page[:end]))


def test_nc013_has_the_line_in_a_script_of_a_page(app: NoCacheFlask) -> None:
    page = "<script>\n\nfetch(url, {\n  cache: 'force-cache',\n});\n</script>"

    assert audit_file(app, "page.html", page) == [("NC013", "page.html", 5)]


def test_nc013_one_finding_for_worker_and_registration(app: NoCacheFlask) -> None:
    Path("page.js").write_text("navigator.serviceWorker.register('/sw.js');\n")

    assert audit_file(
        app, "sw.js", f"{OPEN}.then((cache) => cache.put(url, response))"
    ) == [("NC013", "sw.js", 2)]


@pytest.mark.parametrize("folder", ["node_modules", "tests", ".cache"])
def test_nc013_reads_only_the_files_of_the_service(
    app: NoCacheFlask, folder: str
) -> None:
    Path(folder).mkdir()

    assert (
        audit_file(app, f"{folder}/page.js", "fetch(u, {cache: 'force-cache'})") == []
    )
