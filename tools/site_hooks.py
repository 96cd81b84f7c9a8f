"""Hook of mkdocs for the site as a whole: languages, vendored scripts, search.

- The Python reference gets the language of the page (mkdocstrings is configured too early for it).
- Every page knows its twin in the other language, by relative links that work under any address.
- Mermaid, KaTeX, the calculators and the live demo are loaded only by pages that use them.
- Search is indexed by pagefind after the last language was built.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

VENDOR = "assets/vendor"
LANGUAGES = {"ru": "Русский", "en": "English"}  # the first one lives at the root
DEFAULT = "ru"

# The theme's own search and pagefind's user interfaces; the site has its own.
_UNUSED = (
    "assets/javascripts/lunr",
    "assets/javascripts/workers",
    "assets/**/*.map",
    "pagefind/pagefind-*ui.*",
    "pagefind/pagefind-component*",
    "pagefind/pagefind-highlight.js",
)
_PERMALINK = {"ru": "Ссылка на этот раздел", "en": "Link to this section"}


@event_priority(100)  # before mkdocstrings, which reads the language here
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the language that is about to be built."""
    config.theme["language"] = config.plugins["i18n"].current_language or DEFAULT
    return config


def on_page_content(html: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Only code to run gets a copy button; links of headings speak the language of the page."""
    html = re.sub(r'class="((?:[\w-]+ )*)(output|doc-signature) ', r'class="\1\2 no-copy ', html)
    title = _PERMALINK[config.theme["language"]]
    return html.replace('title="Permanent link">', f'title="{title}" aria-label="{title}">')


def asset_links(output: str, url: str) -> str:
    """Make the audio of a page lead to the shared assets wherever the site is published.

    mkdocs mends links that are written in Markdown, and leaves those in HTML as they are: written
    for the folder of a language, they are one step off in the language that lives at the root.
    """
    return re.sub(
        r'(<(?:audio|source)\b[^>]*\bsrc=")(?:\.\./)*(assets/[^"]+)',
        lambda match: match[1] + get_relative_url(match[2], url),
        output,
    )


def twins(url: str) -> dict[str, str]:
    """Addresses of a page in every language, relative to the root of the site."""
    bare = url.removeprefix("en/").removeprefix("./")
    return {"ru": bare or "./", "en": f"en/{bare}"}


@event_priority(-50)  # after static-i18n, whose links are absolute
def on_page_context(
    context: dict[str, Any], page: Page, config: MkDocsConfig, **_: Any
) -> dict[str, Any]:
    """Tell the templates where the page is in the other language."""
    public = public_address(config)
    addresses = twins(page.url)
    # The attribute, which static-i18n sets as well; templates prefer it to the key.
    config.extra.alternate = [
        {"lang": lang, "name": LANGUAGES.get(lang, ""), "path": path, "link": link}
        for lang, path in [*addresses.items(), ("x-default", addresses[DEFAULT])]
        for link in [public + path.removeprefix("./") if public else path]
    ]
    return context


def public_address(config: MkDocsConfig) -> str:
    """Where the site is published, or nothing for a build that only this machine sees."""
    host = urlsplit(config.site_url or "").hostname
    return "" if host in (None, "127.0.0.1", "localhost") else str(config.site_url)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Add the scripts that this page needs, and no others."""

    def link(path: str) -> str:
        return get_relative_url(path, page.url)

    head, early, late = [], [], []
    if 'class="mermaid"' in output:
        early.append(f'<script src="{link(f"{VENDOR}/mermaid/mermaid.tiny.js")}"></script>')
    if 'class="arithmatex"' in output:
        head.append(f'<link rel="stylesheet" href="{link(f"{VENDOR}/katex/katex.min.css")}">')
        late.append(f'<script defer src="{link(f"{VENDOR}/katex/katex.min.js")}"></script>')
        late.append(f'<script defer src="{link("assets/js/formulas.js")}"></script>')
    if "data-calculator" in output:
        late.append(f'<script defer src="{link("assets/js/calculators.js")}"></script>')
    output = asset_links(output, page.url)
    if "data-demo" in output:
        late.append(f'<script defer src="{link("assets/js/demo.js")}"></script>')
    if not public_address(config):
        output = re.sub(r'\s*<link rel="canonical"[^>]*>', "", output)
    # The theme fetches the site map of everything it finds under exactly rel="alternate".
    output = output.replace('<link rel="alternate" href', '<link rel="alternate " href')
    output = output.replace("</head>", "".join(head) + "</head>", 1)
    output = output.replace("</body>", "".join(late) + "</body>", 1)
    # The theme would load mermaid from elsewhere if there were none yet.
    return output.replace('<script id="__config"', "".join(early) + '<script id="__config"', 1)


@event_priority(-200)  # after static-i18n has built the other languages
def on_post_build(config: MkDocsConfig) -> None:
    """Index the pages for search."""
    if config.plugins["i18n"].building:
        return
    site = Path(config.site_dir)
    command = [sys.executable, "-m", "pagefind_bin", "--site", str(site), "--silent"]
    command += ["--root-selector", "article.md-content__inner"]
    command += ["--exclude-selectors", ".headerlink, .bo-no-search"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PluginError(f"pagefind couldn't index the site:\n{done.stdout}{done.stderr}")
    for pattern in _UNUSED:
        for path in list(site.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
