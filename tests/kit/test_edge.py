"""NC014: configurations that make a cache ignore the header fields."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import NoCacheFlask
from nocache.audit.edge_settings import HOSTS
from nocache.audit.edge_settings import SETTINGS
from nocache.audit.policy_file import write_policy_file

HEADERS = '{"headers": [{"source": "%s", "headers": [{"key": "%s", "value": "%s"}]}]}'
CLOUDFRONT = 'resource "aws_cloudfront_distribution" "web" {\n %s\n}'
DEFEATED = [
    ("nginx.conf", "proxy_ignore_headers Cache-Control Expires;"),
    ("nginx.conf", "proxy_ignore_headers Expires\n  Cache-Control;"),
    ("nginx.conf", "location ~* \\.(css|js)$ { uwsgi_ignore_headers Cache-Control; }"),
    ("sites-enabled/shop", "fastcgi_ignore_headers Cache-Control;"),
    (
        "ingress.yaml",
        "metadata:\n  annotations:\n    nginx.ingress.kubernetes.io/server-snippet: |\n"
        "      proxy_ignore_headers Cache-Control Expires;",
    ),
    ("nginx.conf", "proxy_cache_valid 200 1h;\nproxy_cache_valid any 1m;"),
    (
        "nginx.conf",
        "location / { proxy_pass http://web; proxy_hide_header Cache-Control; }",
    ),
    ("nginx.conf", "location / { proxy_pass http://web; expires 1h; }"),
    ("nginx.conf", "server { expires 1d; location / { proxy_pass http://web; } }"),
    ("nginx.conf", "location ~* \\.(css|js)$ { proxy_pass http://web; expires max; }"),
    (
        "default.vcl",
        "sub vcl_backend_response { set beresp.ttl = 1h; return (deliver); }",
    ),
    (
        "default.vcl",
        'sub vcl_backend_response {\n  if (bereq.url ~ "\\.(css|js)$") {\n'
        "    set beresp.ttl = 1d;\n    return(deliver);\n  }\n}",
    ),
    ("default.vcl", "sub vcl_backend_response { unset beresp.http.Cache-Control; }"),
    ("default.vcl", 'sub vcl_deliver { set resp.http.Cache-Control = "max-age=60"; }'),
    ("squid.conf", "refresh_pattern . 60 100% 60 ignore-no-store ignore-private"),
    ("squid.conf", "offline_mode on"),
    ("apache.conf", 'Header set Cache-Control "max-age=3600"'),
    (".htaccess", "Header append Cache-Control public"),
    (
        "apache.conf",
        '<LocationMatch "\\.(css|js)$">\n  Header set Cache-Control "max-age=60"\n'
        "</LocationMatch>",
    ),
    ("apache.conf", "<Location />\nHeader always unset Cache-Control\n</Location>"),
    ("apache.conf", "CacheStoreNoStore On"),
    ("haproxy.cfg", "http-response set-header Cache-Control max-age=3600"),
    ("haproxy.cfg", "http-response del-header Cache-Control"),
    ("envoy.yaml", "response_headers_to_remove:\n- server\n- cache-control"),
    (
        "envoy.yaml",
        "response_headers_to_add:\n- header:\n    key: cache-control\n"
        "    value: public, max-age=60",
    ),
    ("traefik.yml", "headers:\n  customResponseHeaders:\n    Cache-Control: public"),
    (
        "compose.yaml",
        'labels:\n  - "traefik.http.middlewares.a.headers.customresponseheaders'
        '.Cache-Control=public"',
    ),
    ("main.tf", 'edge_ttl {\n mode = "override_origin"\n default = 60\n}'),
    ("main.tf", "status_code_ttl {\n status_code = 404\n value = 60\n}"),
    ("worker.js", "fetch(request, {cf: {cacheTtl: 60}})"),
    ("worker.js", "fetch(request, {cf: {cacheEverything: true}})"),
    ("main.tf", 'cache_setting {\n name = "all"\n ttl = 3600\n}'),
    ("main.tf", CLOUDFRONT % "default_cache_behavior {\n  min_ttl = 60\n }"),
    (
        "main.tf",
        CLOUDFRONT
        % 'ordered_cache_behavior {\n  path_pattern = "*.css"\n  min_ttl = 60\n }',
    ),
    ("main.tf", 'resource "aws_cloudfront_cache_policy" "all" {\n min_ttl = 1\n}'),
    ("stack.yaml", "CloudFrontDistribution:\n  DefaultCacheBehavior:\n    MinTTL: 60"),
    ("main.tf", "custom_error_response {\n error_caching_min_ttl = 10\n}"),
    (
        "rules.json",
        '{"name": "caching", "options": {"behavior": "MAX_AGE", "ttl": "1d"}}',
    ),
    ("main.tf", 'cdn_policy {\n cache_mode = "FORCE_CACHE_ALL"\n}'),
    ("main.tf", 'cache_behavior = "OverrideAlways"'),
    (
        "netlify/edge-functions/list.js",
        'response.headers.set("Netlify-CDN-Cache-Control", "s-maxage=60")',
    ),
    ("vercel.json", HEADERS % ("/api/(.*)", "CDN-Cache-Control", "max-age=60")),
    ("vercel.json", HEADERS % ("/(.*)", "Cache-Control", "s-maxage=60")),
    ("firebase.json", HEADERS % ("**", "Cache-Control", "max-age=60")),
    (
        "netlify.toml",
        '[[headers]]\n  for = "/api/*"\n  [headers.values]\n'
        '    Cache-Control = "public, max-age=60"',
    ),
    ("public/_headers", "/*\n  CDN-Cache-Control: max-age=60"),
]
LEFT_ALONE = [
    ("nginx.conf", "# proxy_ignore_headers Cache-Control;"),
    ("nginx.conf", "proxy_ignore_headers Set-Cookie Vary;"),
    ("nginx.conf", "proxy_cache_valid 200 302 10m;"),
    ("nginx.conf", "location /static/ { alias /srv/static/; expires 30d; }"),
    ("nginx.conf", "location /static/ { proxy_pass http://web; expires 30d; }"),
    ("nginx.conf", "location ~* \\.(css|js)$ { root /srv; expires max; }"),
    ("nginx.conf", "location / { proxy_pass http://web; expires off; }"),
    (
        "nginx.conf",
        "location / { proxy_pass http://web; proxy_hide_header Cache-Control;"
        ' add_header Cache-Control "no-store" always; }',
    ),
    ("nginx.conf", "location /assets { proxy_ignore_headers Cache-Control; }"),
    (
        "default.vcl",
        "sub vcl_backend_response { set beresp.ttl = 0s; return (deliver); }",
    ),
    (
        "default.vcl",
        'sub vcl_backend_response { if (bereq.url ~ "^/static/") {'
        " set beresp.ttl = 1h; return (deliver); } }",
    ),
    (
        "default.vcl",
        "/* sub vcl_backend_response { unset beresp.http.Cache-Control; } */",
    ),
    ("default.vcl", "sub vcl_deliver { return (deliver); }"),
    ("default.vcl", 'sub vcl_deliver { set resp.http.Cache-Control = "no-store"; }'),
    ("squid.conf", "refresh_pattern . 0 20% 4320\noffline_mode off"),
    ("apache.conf", 'Header always set Cache-Control "no-store"'),
    (
        "apache.conf",
        '<FilesMatch "\\.css$">\nHeader set Cache-Control "max-age=60"\n</FilesMatch>',
    ),
    (
        "apache.conf",
        '<Location /static>\nHeader set Cache-Control "max-age=60"\n</Location>',
    ),
    ("haproxy.cfg", "http-response set-header Cache-Control no-store"),
    ("haproxy.cfg", "http-request set-header Cache-Control no-cache"),
    ("envoy.yaml", "response_headers_to_remove: [server]"),
    (
        "envoy.yaml",
        "response_headers_to_add:\n- header: {key: x, value: y}\n"
        "request_headers_to_add:\n- header: {key: cache-control, value: no-cache}",
    ),
    ("main.tf", "# min_ttl = 60\nmin_ttl = 0\nerror_caching_min_ttl = 0"),
    ("main.tf", 'resource "aws_cloudfront_cache_policy" "static" {\n min_ttl = 1\n}'),
    (
        "main.tf",
        CLOUDFRONT
        % 'ordered_cache_behavior {\n  path_pattern = "/static/*"\n  min_ttl = 60\n }',
    ),
    ("main.tf", 'resource "aws_lambda_alias" "web" {\n min_ttl = 60\n}'),
    (
        "main.tf",
        'resource "google_compute_backend_bucket" "web" {\n'
        ' cache_mode = "FORCE_CACHE_ALL"\n}',
    ),
    ("main.tf", 'cache_setting {\n action = "pass"\n ttl = 3600\n}'),
    (
        "main.tf",
        'rules {\n expression = "starts_with(http.request.uri.path, \\"/static/\\")"\n'
        ' action_parameters {\n edge_ttl {\n mode = "override_origin"\n }\n }\n}',
    ),
    ("worker.js", "// {cf: {cacheTtl: 60}}\nfetch(request, {cf: {cacheTtl: 0}})"),
    (
        "vercel.json",
        HEADERS % ("/static/(.*)", "Cache-Control", "max-age=60, immutable"),
    ),
    ("vercel.json", HEADERS % ("/(.*)", "Cache-Control", "no-store")),
    ("firebase.json", HEADERS % ("**/*.@(jpg|png)", "Cache-Control", "max-age=60")),
    (
        "netlify.toml",
        '[[headers]]\n  for = "/assets/*"\n  [headers.values]\n'
        '    Cache-Control = "public, max-age=60"',
    ),
    ("public/_headers", "/assets/*\n  Cache-Control: public, max-age=60, immutable"),
    ("public/_headers", "# /api/*\n#  Cache-Control: max-age=60"),
    ("README.md", "proxy_ignore_headers Cache-Control Expires;"),
    ("tests/nginx.conf", "proxy_ignore_headers Cache-Control Expires;"),
]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoCacheFlask:
    monkeypatch.chdir(tmp_path)
    app = NoCacheFlask("kit_app")
    app.register_blueprint(ApiBlueprint("api", __name__), url_prefix="/api")
    write_policy_file(app)
    return app


def audit_file(app: Flask, name: str, text: str) -> list[tuple[str, str, str]]:
    path = Path.cwd() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"\n{text}\n", encoding="utf-8")
    return [(f.id, f.path, f.message) for f in audit_app(app)]


@pytest.mark.parametrize(("name", "text"), DEFEATED)
def test_nc014(app: NoCacheFlask, name: str, text: str) -> None:
    ((id, path, _),) = audit_file(app, name, text)

    assert (id, path) == ("NC014", name)


@pytest.mark.parametrize(("name", "text"), LEFT_ALONE)
def test_nc014_noop(app: NoCacheFlask, name: str, text: str) -> None:
    assert audit_file(app, name, text) == []


def test_every_setting_has_a_case(app: NoCacheFlask) -> None:
    messages = " ".join(m for case in DEFEATED for *_, m in audit_file(app, *case))

    for product, setting in [*((s.product, s.text) for s in SETTINGS), *HOSTS.values()]:
        assert f"'{setting}' lets {product} store" in messages


def test_nc014_has_the_line_of_the_setting(app: NoCacheFlask) -> None:
    audit_file(app, "nginx.conf", "server {\n  # ours\n  proxy_cache_valid any 1m;\n}")

    assert [f.line for f in audit_app(app)] == [4]
