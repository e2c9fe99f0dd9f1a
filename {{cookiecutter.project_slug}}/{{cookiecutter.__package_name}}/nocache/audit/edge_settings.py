"""The settings by which caches override our header fields, from docs/edge.md."""

from __future__ import annotations

import typing as t


class Setting(t.NamedTuple):
    """A setting of one product that overrides our header fields.

    All patterns are regular expressions, and ignore case.

    :param product: the product, by its name in docs/edge.md.
    :param text: the setting, as in docs/edge.md.
    :param files: matches the paths of the files that can have the setting.
    :param pattern: matches the setting, in a file without its comments.
    :param inside: has to match the head of a block around the setting.
    :param beside: has to match the text of a block around it, without inner blocks.
    :param below: has to match the text of the innermost block, with inner blocks.
    :param unless: must not match the text of a block around it, without inner blocks.
    """

    product: str
    text: str
    files: str
    pattern: str
    inside: str = ""
    beside: str = ""
    below: str = ""
    unless: str = ""


SERVER = (
    r"\.(conf|cfg|nginx|vhost|template|tmpl|tpl|j2|config|ya?ml)$|nginx|conf\.d/|sites-"
)
APACHE = r"\.(conf|htaccess|vhost|template|tmpl|tpl|j2)$|httpd|apache|conf\.d/|sites-"
CODE = r"\.(tf|hcl|jsonc?|ya?ml|toml|bicep|template)$"
STORABLE = r"(?![^\n;]*no-store)"
UPSTREAM = r"\b(?:proxy|fastcgi|scgi|uwsgi|grpc)"
SETTINGS = (
    Setting(
        "nginx",
        "proxy_ignore_headers Cache-Control Expires;",
        SERVER,
        UPSTREAM + r"_ignore_headers\s[^;]*\bCache-Control\b",
    ),
    Setting(
        "nginx",
        "proxy_cache_valid any",
        SERVER,
        UPSTREAM + r"_cache_valid\s+(?:[^;]*\s)?any\b",
    ),
    Setting(
        "nginx",
        "proxy_hide_header Cache-Control;",
        SERVER,
        UPSTREAM + r"_hide_header\s+[\"']?Cache-Control\b",
        unless=r"add_header\s+[\"']?Cache-Control\b[^;]*no-store",
    ),
    Setting(
        "nginx",
        "expires 1h;",
        SERVER,
        r"(?<![\w-])expires\s+(?:modified\s+)?[\"']?(?!0\b|off|epoch|-|\$)[\w@+][^;{}\n]*;",
        below=UPSTREAM + r"_pass\b",
    ),
    Setting(
        "Varnish",
        "set beresp.ttl",
        r"\.vcl",
        r"\breturn\s*\(\s*deliver\s*\)",
        inside=r"\bsub\s+vcl_(?:backend_response|fetch)\b",
        beside=r"\bset\s+beresp\.ttl\s*=(?!\s*0)",
    ),
    Setting(
        "Varnish",
        "unset beresp.http.Cache-Control",
        r"\.vcl",
        r"\b(?:unset|remove)\s+(?:be)?resp\.http\.Cache-Control\b"
        r"|\bset\s+(?:be)?resp\.http\.Cache-Control\s*=\s*" + STORABLE,
        unless=r"\bset\s+(?:be)?resp\.http\.Cache-Control\s*=[^;]*no-store",
    ),
    Setting(
        "Squid",
        "ignore-no-store ignore-private",
        r"squid|\.conf|\.ya?ml$",
        r"^\s*refresh_pattern\b[^\n]*\bignore-(?:no-store|private)\b",
    ),
    Setting(
        "Squid",
        "offline_mode on",
        r"squid|\.conf|\.ya?ml$",
        r"^\s*offline_mode\s+on\b",
    ),
    Setting(
        "Apache httpd",
        "Header set Cache-Control",
        APACHE,
        r"^\s*Header\s+(?:always\s+|onsuccess\s+)?(?:set|merge|append|add|edit\*?)\s+[\"']?"
        r"Cache-Control\b" + STORABLE,
    ),
    Setting(
        "Apache httpd",
        "Header unset Cache-Control",
        APACHE,
        r"^\s*Header\s+(?:always\s+|onsuccess\s+)?unset\s+[\"']?Cache-Control\b",
        unless=r"Header\s+(?:always\s+)?set\s+[\"']?Cache-Control\b[^\n]*no-store",
    ),
    Setting(
        "Apache httpd",
        "CacheStoreNoStore",
        APACHE,
        r"^\s*CacheStore(?:NoStore|Private)\s+On\b",
    ),
    Setting(
        "HAProxy",
        "http-response set-header Cache-Control max-age=…",
        SERVER,
        r"^\s*http-(?:after-)?response\s+(?:(?:set|add|replace)-(?:header|value)\s+"
        r"Cache-Control\b"
        + STORABLE
        + r"|del-header\s+Cache-Control\b)(?![^\n]*/static)",
        unless=r"-header\s+Cache-Control\b[^\n]*no-store",
    ),
    Setting(
        "Envoy",
        "response_headers_to_add",
        CODE,
        r"response_headers_to_add\"?:(?:(?!_headers_to_)[^#]){0,400}?key\"?:\s*[\"']?"
        r"cache-control[\"']?,?\s*\"?value\"?:" + STORABLE,
    ),
    Setting(
        "Envoy",
        "response_headers_to_remove",
        CODE,
        r"response_headers_to_remove\"?:(?:[\s,\[\"'-]*[\w-]+[\"']?){0,9}?[\s,\[\"'-]*"
        r"(?<![\w-])cache-control\b",
    ),
    Setting(
        "Traefik",
        "customResponseHeaders",
        r"\.(ya?ml|toml)$",
        r"customResponseHeaders(?:\.|\]?:?\s(?:\s*[\"']?[\w-]+[\"']?\s*[:=][^\n]*\n)*?\s*)"
        r"[\"']?Cache-Control[\"']?\s*[:=]" + STORABLE,
    ),
    Setting(
        "Cloudflare",
        "override_origin",
        CODE,
        r"\bmode\"?\s*[=:]\s*[\"']?override_origin\b",
    ),
    Setting(
        "Cloudflare",
        "status_code_ttl",
        CODE,
        r"\bstatus_code_ttl\s*(?:=\s*\[?\s*)?\{(?=[^{}]*\bvalue\s*=\s*[1-9])",
    ),
    Setting(
        "Cloudflare",
        "cf.cacheTtl",
        r"\.[cm]?[jt]s$",
        r"\bcf\s*:\s*\{(?=[^{}]*\bcache(?:Ttl\s*:\s*[1-9]|Everything\s*:\s*true))",
    ),
    Setting(
        "Fastly",
        "cache_setting",
        CODE,
        r"\bcache_settings?\s*\{(?=[^{}]*\bttl\s*=\s*[1-9])"
        r"(?![^{}]*(?:action\s*=\s*\"pass\"|static|assets))",
    ),
    Setting(
        "CloudFront",
        "min_ttl",
        CODE,
        r"(?<![\w])(?:min_?ttl)\"?\s*[=:]\s*[\"']?[1-9]",
        inside=r"cloudfront|cache_?(?:behavior|policy)|distribution",
    ),
    Setting(
        "CloudFront",
        "error_caching_min_ttl",
        CODE,
        r"\berror_?caching_?min_?ttl\"?\s*[=:]\s*[\"']?[1-9]",
    ),
    Setting(
        "Akamai",
        "MAX_AGE",
        CODE,
        r"\bcaching\"?\s*(?:,\s*\"options\"\s*:\s*)?\{(?=[^{}]*\bbehavior\"?\s*[=:]\s*\""
        r"MAX_AGE\")(?=[^{}]*\bttl\"?\s*[=:]\s*\"[1-9])",
    ),
    Setting("Google Cloud CDN", "FORCE_CACHE_ALL", CODE, r"\bFORCE_CACHE_ALL\b"),
    Setting(
        "Azure Front Door",
        "OverrideAlways",
        CODE,
        r"\bcache_?behavior\"?\s*[=:]\s*[\"']OverrideAlways\b",
    ),
    Setting(
        "Netlify",
        "Netlify-CDN-Cache-Control",
        r"netlify/edge-functions/.*\.[cm]?[jt]s$",
        r"\.(?:set|append)\(\s*[\"'](?:Netlify-)?CDN-Cache-Control[\"']" + STORABLE,
    ),
)
# files of hosts that set header fields by path: the product and the setting
HOSTS = {
    "_headers": ("Netlify", "CDN-Cache-Control"),
    "firebase.json": ("Firebase Hosting", "Cache-Control"),
    "netlify.toml": ("Netlify", "CDN-Cache-Control"),
    "vercel.json": ("Vercel", "CDN-Cache-Control"),
}
