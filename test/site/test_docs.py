# SPDX-License-Identifier: BSD-2-Clause
"""docs/ as pages: every link leads somewhere, nothing comes from outside, and the search works from a file."""
import functools
import glob
import html.parser
import os
import re
import urllib.parse

import pytest

from browser import SITE, TREE

# Attributes that make a browser load something by itself.
LOADS = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}


class Links(html.parser.HTMLParser):
    """A page's links, what it loads, and what can be linked to in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        with open(path, encoding="utf-8") as file:
            self.feed(file.read())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.update(values[key] for key in ("id", "name") if key in values)
        self.loads += [values[key] for key in ("src", "data") if (tag, key) in LOADS and values.get(key)]
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loads.append(values["href"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])


@functools.lru_cache(maxsize=None)
def links(path):
    return Links(path)


def pages():
    return sorted(glob.glob(f"{SITE}/**/*.html", recursive=True))


def dead(path, link):
    """What is wrong with the link on this page, or None."""
    address = urllib.parse.urlsplit(link)
    if address.scheme:
        return None if address.scheme in ("https", "mailto") else "a strange scheme"
    target = os.path.normpath(os.path.join(os.path.dirname(path), urllib.parse.unquote(address.path)))
    target = path if not address.path else target
    if os.path.isdir(target) or not os.path.exists(target):
        return "no such file"
    anchor = urllib.parse.unquote(address.fragment)
    return "no such place in it" if anchor and anchor not in links(target).anchors else None


def test_every_page_of_docs_is_there():
    sources = [os.path.basename(path)[: -len(".md")] for path in glob.glob(f"{TREE}/docs/*.md")]
    wanted = {"index" if name == "README" else name for name in sources}
    assert len(wanted) > 15
    assert wanted <= {os.path.basename(path)[: -len(".html")] for path in glob.glob(f"{SITE}/docs/*.html")}


def test_every_page_is_in_the_menu(page):
    """mkdocs only remarks that a page is in no menu."""
    page.open("docs/index.html")
    linked = {os.path.basename(urllib.parse.urlsplit(link.get_attribute("href")).path)
              for link in page.all(".md-nav--primary a[href]")}
    there = {os.path.basename(path) for path in glob.glob(f"{SITE}/docs/*.html")}
    assert there - linked == {"404.html"}
    words = [link.get_attribute("textContent").strip() for link in page.all(".md-nav--primary .md-nav__item a[href]")]
    assert "None" not in words and "" not in words


def test_links_to_pages_have_their_titles(page):
    page.open("docs/tour.html")
    names = [link.text for link in page.all("article a") if link.text.endswith(".md")]
    assert names == [] and "Your first guest has the guest" in page.one("article").text


def test_links_lead_somewhere():
    wrong = [f"{os.path.relpath(path, SITE)}: {link}: {problem}" for path in pages()
             if not path.endswith("404.html") for link in links(path).links if (problem := dead(path, link))]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_loaded_from_outside():
    outside = [(path, address) for path in pages() for address in links(path).loads
               if urllib.parse.urlsplit(address).scheme not in ("", "data") or address.startswith("//")]
    assert len(pages()) > 20 and not outside
    for path in glob.glob(f"{SITE}/**/*.css", recursive=True):
        with open(path, encoding="utf-8") as file:
            assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", file.read()), path


def search(page, words):
    """What the box finds is another list after each letter: look at it in one go, and wait for what shall be there."""
    page.open("docs/index.html")
    page.one(".md-search__input").click()
    page.one(".md-search__input").send_keys(words)


@pytest.mark.parametrize("words, where", [("flight recorder", "trace.html"), ("BLOCKING_STI", "entry-rules.html"),
                                          ("ROOTLET_CALL_YIELD", "guest-abi.html")])
def test_search_works_from_a_file(page, words, where):
    search(page, words)
    page.wait(lambda: where in page.js("""[...document.querySelectorAll(".md-search-result__item a")]
        .map((link) => new URL(link.href).pathname.split("/").pop())"""))


def test_search_result_leads_to_the_page(page):
    search(page, "memory types")
    page.wait(lambda: page.js("""((link) => { link?.click(); return link !== null; })(
        document.querySelector(".md-search-result__item a"))"""))
    page.wait(lambda: "index.html" not in page.current_url)
    assert page.one("article h1").text


def test_every_rule_has_its_place(page):
    with open(f"{TREE}/vmx/check/rules.h", encoding="utf-8") as file:
        rules = re.findall(r"^ +R\((\w+), ", file.read(), re.MULTILINE)
    page.open("docs/entry-rules.html")
    there = {mark.get_attribute("id") for mark in page.all("td span[id]")}
    assert len(rules) > 140 and there == set(rules)


def test_lists_within_lists_are_kept(page):
    """Python's Markdown wants them indented by four, the sources have two."""
    page.open("docs/hardware.html")
    assert page.all("article li li")
    page.open("docs/vmx-explain.html")
    assert len(page.all("article li pre")) >= 2
    page.open("docs/running.html")
    assert not [item for item in page.all("article li") if re.search(r"\n- |^- ", item.text)]


@pytest.mark.parametrize("name", ["index", "entry-checks", "entry-rules", "vmx-explain", "design", "sdm-map"])
def test_a_narrow_screen_needs_no_scrolling_to_the_side(page, name):
    page.look(width=400)
    page.open(f"docs/{name}.html")
    assert page.too_wide() <= 0


@pytest.mark.parametrize("dark", [False, True])
def test_the_colours_are_those_of_the_system(page, dark):
    """On a first visit: the theme keeps what it had, or what the reader chose."""
    page.look(dark=dark)
    page.open("docs/index.html")
    page.js("localStorage.clear()")
    page.open("docs/index.html")
    assert max(page.ground()) < 80 if dark else min(page.ground()) > 200
