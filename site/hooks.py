# SPDX-License-Identifier: BSD-2-Clause
"""What mkdocs is asked to do besides docs/ (site/mkdocs.yml): the pages of the tree's root, the rules of VM entries as
a page, links to sources, and the files that let the search work from file://.

It runs in the mkdocs of Debian 12 (1.4, material 8) and of Debian 13 (1.6, material 9).
"""
import json
import os
import re

import pygments
import pygments.formatters
import pygments.lexers
import pygments.util
from mkdocs.structure.files import File

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Pages that are made or copied here before mkdocs takes them, as it wants files.
MADE = os.path.join(TREE, "build", "site-pages")
ROOT_PAGES = {"README.md": "rootlet.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
RULES, RULES_PAGE = "vmx/check/rules.h", "entry-rules.md"
RULES_HEAD = """\
# The rules of VM entries

What Rootlet's checker knows, from `vmx/check/rules.h`: the name of each rule, and its words. They follow the name and
the value of the field that they are about. [Why a VM entry failed](entry-checks.md) has answers that use them. The
numbers are those of the SDM's volume 3C around 2017; [the SDM's map](sdm-map.md#numbers-in-todays-edition) says what
has moved since.
"""
LINK = re.compile(r"\[([^\[\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")
SOURCE_STYLE = """\
body{margin:0;font:15px system-ui,sans-serif;background:#fff;color:#1f2328}h1,p{font-size:1rem;margin:1rem}
pre{margin:0 1rem 2rem;font:13px/1.45 ui-monospace,monospace;overflow-x:auto}ul{line-height:1.7}
a{color:#0b6b5e}.linenos{color:#767676;margin-right:1em;user-select:none}
@media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}a{color:#58c4b2}}
"""

linked_sources = set()


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as file:
        return file.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# ---- Pages that are not in docs/ ----


def rules_page():
    """The rules of vmx/check/rules.h by section, each with its name as an anchor: answers about a VMCS lead there."""
    text = re.sub(r"\\\n", " ", read(RULES))
    titles = dict(re.findall(r'\bS\((\w+), \w+, "([^"]+)"\)', text))
    rules = re.findall(r'\bR\((\w+), *(\w+), *((?:"[^"]*"\s*)+)\)', text)
    lines = RULES_HEAD.splitlines() + [""]
    for section, title in titles.items():
        mine = [(name, "".join(re.findall(r'"([^"]*)"', words))) for name, where, words in rules if where == section]
        if mine:
            lines += [f"## SDM 3C {title}", "", "| rule | words |", "|---|---|"]
            lines += [f'| <span id="{name}">`{name}`</span> | {escaped(words)} |' for name, words in mine] + [""]
    return "\n".join(lines)


def escaped(words):
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", words)


def on_files(files, config):
    linked_sources.clear()
    for source, name in ROOT_PAGES.items():
        write(os.path.join(MADE, name), read(source))
    write(os.path.join(MADE, RULES_PAGE), rules_page())
    for name in [*ROOT_PAGES.values(), RULES_PAGE]:
        files.append(File(name, MADE, config["site_dir"], config["use_directory_urls"]))
    return files


# ---- Links and lists ----


def tree_path(page_path):
    """Where the page stands in the tree."""
    roots = {name: source for source, name in ROOT_PAGES.items()}
    return roots.get(page_path, "docs/" + page_path)


def page_of(path):
    """The page's or picture's path among mkdocs's files, or None if it is none of them."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    return path[len("docs/"):] if path.startswith("docs/") else None


def on_page_markdown(markdown, page, config, files):
    """Links lead to pages, or to a source's page; nested lists are indented as Python's Markdown wants them."""
    here = os.path.dirname(tree_path(page.file.src_path))

    def link(match):
        words, address, anchor = match.groups()
        if "://" in address:
            return match.group(0)
        path = os.path.normpath(os.path.join(here, address))
        target = page_of(path)
        if target is None and os.path.exists(os.path.join(TREE, path)):
            linked_sources.add(path)
            target = "source:" + path
        if path.endswith(words.rsplit("/", 1)[-1]) and words.endswith(".md"):
            words = re.match(r"# (.*)", read(path)).group(1)  # a file's name means little on a page
        return f"[{words}]({target or address}{anchor or ''})"

    return "\n".join(indented(LINK.sub(link, markdown).split("\n")))


def indented(lines):
    """What belongs to an item of a list stands under its words in docs/, and Python's Markdown wants it four columns
    in."""
    inside, fenced, blank = 0, False, True  # inside: columns in which the item's words begin; 0: no item
    for line in lines:
        item = re.match(r"(?:[-*]|\d+\.) +", line)
        fenced ^= not inside and line.startswith("```")
        if not fenced and item:
            inside = min(4, len(item.group()))
        elif line and not line.startswith(" ") and blank:
            inside = 0
        elif inside and line.startswith(" " * inside):
            line = " " * (4 - inside) + line
        blank = not line
        yield line


def on_page_content(html, page, config, files):
    """mkdocs does not know the sources' pages, which are made when it is done."""
    return re.sub(r'href="source:([^"#]*)', lambda match: f'href="{source_page(match.group(1))}', html)


# ---- Sources ----


def source_page(path):
    return f"source/{path}/index.html" if os.path.isdir(os.path.join(TREE, path)) else f"source/{path}.html"


def listed(folder):
    """The folder's files and folders that are no product of a build."""
    for name in sorted(os.listdir(os.path.join(TREE, folder))):
        if not re.search(r"^\.|^__|\.(?:o|elf)$", name):
            yield f"{folder}/{name}"


def source_html(path, body):
    style = pygments.formatters.HtmlFormatter(style="default").get_style_defs("pre")
    dark = pygments.formatters.HtmlFormatter(style="github-dark").get_style_defs("pre")
    pages = os.path.relpath("index.html", os.path.dirname(source_page(path)))
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{path}</title>\n<style>{style}\n@media (prefers-color-scheme:dark){{{dark}}}\n{SOURCE_STYLE}"
            f'</style></head>\n<body><p><a href="{pages}">Rootlet: the pages</a></p><h1>{path}</h1>\n{body}\n'
            "</body></html>\n")


def write_source(site, path):
    """One source as a page, or a folder's list and all that is in it."""
    if os.path.isdir(os.path.join(TREE, path)):
        inside = list(listed(path))
        for name in inside:
            write_source(site, name)
        items = "".join(f'<li><a href="{os.path.relpath(source_page(name), source_page(path) + "/..")}">'
                        f"{os.path.basename(name)}</a></li>\n" for name in inside)
        write(os.path.join(site, source_page(path)), source_html(path, f"<ul>\n{items}</ul>"))
        return
    text = read(path)
    try:
        lexer = pygments.lexers.get_lexer_for_filename(path, text)
    except pygments.util.ClassNotFound:
        lexer = pygments.lexers.TextLexer()
    formatter = pygments.formatters.HtmlFormatter(nowrap=True, linenos=False)
    lines = pygments.highlight(text, lexer, formatter).split("\n")
    body = "\n".join(f'<span class="linenos" aria-hidden="true">{number:4}</span>{line}'
                     for number, line in enumerate(lines[:-1], 1))
    write(os.path.join(site, source_page(path)), source_html(path, f"<pre>{body}</pre>"))


# ---- The search from file:// ----


OFFLINE = """\
/* Made by site/hooks.py. The theme's search worker and index as a script, since a page of file:// may read no file. */
var rootletSearch = document.currentScript.src.replace(/offline\\.js.*/, "");
window.Worker = class extends Worker {
  constructor() {
    super(URL.createObjectURL(new Blob([%s], { type: "text/javascript" })));
  }
};
/* The theme of Debian 12 takes the index from here; that of Debian 13 loads search_index.js by itself. */
var __search = {
  get index() {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = rootletSearch + "search_index.js";
      script.onload = () => resolve(__index);
      script.onerror = reject;
      document.head.append(script);
    });
  },
};
"""


def on_post_build(config):
    site = config["site_dir"]
    for path in sorted(linked_sources):
        write_source(site, path)
    search = os.path.join(site, "search")
    with open(os.path.join(search, "search_index.json"), encoding="utf-8") as file:
        write(os.path.join(search, "search_index.js"), f"var __index = {file.read()};\n")
    workers = os.path.join(site, "assets", "javascripts", "workers")
    worker = next(name for name in sorted(os.listdir(workers)) if re.fullmatch(r"search\..*\.js", name))
    with open(os.path.join(workers, worker), encoding="utf-8") as file:
        write(os.path.join(search, "offline.js"), OFFLINE % json.dumps(file.read()).replace("</", "<\\/"))
