"""Pages as a browser shows them, near enough to Quarto's to measure how wide they are: its column, its classes, nbs/styles.css, and formulas
as MathML, which a browser sets by itself. MathJax in Quarto's font makes 19 of 20 inline formulas less than a quarter wider, hence `math`."""
import html
import json
import re
import subprocess

from latex2mathml.converter import convert
from nbconvert.filters import markdown2html

LAYOUT = """
body { margin: 0; font: 17px/1.5 "Source Sans Pro", "DejaVu Sans", sans-serif; }
main { max-width: 699px; margin: 0 auto; padding: 0 1.5em; }
pre { display: block; overflow: auto; padding: 0.4em; font-size: 0.875em; }
code { font-family: SFMono-Regular, "DejaVu Sans Mono", monospace; font-size: 0.875em; }
pre.sourceCode, pre.sourceCode code, div.highlight pre { white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 0.5rem; border-bottom: 1px solid #ccc; }
figure { margin: 0; }
math { font-size: 1.2em; }
"""
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$]+?)(?<!\s)\$(?!\d)", re.S)
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.M | re.S)


def prose(text) -> str:
    "HTML of a piece of Quarto's Markdown."
    formulas = []

    def hide(match):
        kind = "display" if match[1] else "inline"
        formulas.append(f'<span class="math {kind}">{convert(match[1] or match[2], display="block" if match[1] else "inline")}</span>')
        return f"FORMULA{len(formulas) - 1}X"

    def plain(part):
        part = FORMULA.sub(hide, re.sub(r"^:::.*$", "", part, flags=re.M))
        return re.sub(r"\{[#.\w][^}\n]*\}", "", part)    # attributes, such as {target="_blank"}

    text = "".join(part if i % 2 else plain(part) for i, part in enumerate(CODE.split(text)))
    body = markdown2html(text)
    return re.sub(r"FORMULA(\d+)X", lambda match: formulas[int(match[1])], body)


def output(out, asis) -> str:
    "HTML of one output of a cell."
    data = out.get("data", {})
    if out.output_type == "stream": inner = f"<pre><code>{html.escape(out.text)}</code></pre>"
    elif "image/png" in data:
        width = out.get("metadata", {}).get("image/png", {}).get("width")
        inner = f'<figure><img {f"width={width} " if width else ""}src="data:image/png;base64,{data["image/png"].strip()}"></figure>'
    elif "text/html" in data: inner = data["text/html"]
    elif "text/markdown" in data: inner = prose(data["text/markdown"])
    else: inner = f'<pre><code>{html.escape(data.get("text/plain", ""))}</code></pre>'
    if asis: return inner
    kind = "stdout" if out.output_type == "stream" else "display"
    return f'<div class="cell-output cell-output-{kind}">{inner}</div>'


def cell(part) -> str:
    "HTML of a staged cell."
    if part.cell_type == "raw": return ""
    if part.cell_type == "markdown": return prose(part.source)
    said = dict(re.findall(r"^#\|\s*([\w-]+):\s*(.*?)\s*$", part.source, re.M))
    if said.get("include") == "false": return ""
    code = re.sub(r"^#\|.*\n?", "", part.source, flags=re.M).strip()
    shown = f'<pre class="sourceCode python"><code class="sourceCode">{html.escape(code)}</code></pre>' if code and said.get("echo") != "false" else ""
    if shown and said.get("code-fold") == "true": shown = f"<details><summary>{said.get('code-summary', 'Code')}</summary>{shown}</details>"
    outputs = "".join(output(out, said.get("output") == "asis") for out in part.outputs if said.get("output") != "false")
    caption = f"<figcaption>{prose(said['fig-cap'].strip(chr(34)))}</figcaption>" if "fig-cap" in said else ""
    return f'<div class="cell">{shown}{outputs}{caption}</div>'


def page(cells, styles, title="") -> str:
    "A page of staged cells, with the site's styles."
    body = "\n".join(map(cell, cells))
    return f"<!doctype html><html><meta charset=utf-8><style>{LAYOUT}{styles}</style><body><main class=content><h1>{title}</h1>{body}</main></body></html>"


MEASURE = """<script>
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, column = page.querySelector("main"), edge = column.getBoundingClientRect().right;
    const scrolls = e => e !== column && (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    const wide = [...column.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > edge + 1 && !scrolls(e.parentElement));
    const missing = [...page.images].filter(e => !e.naturalWidth);
    const cut = [...column.querySelectorAll("table")].filter(e => !e.closest(".cell") && e.scrollWidth > e.clientWidth + 1);
    const edges = e => e && [e.getBoundingClientRect().top, e.getBoundingClientRect().bottom];
    const lines = [...page.querySelectorAll("pre")].find(e => e.textContent.includes("fit("));
    return {name: frame.title, picture: edges(page.images[0]), lines: edges(lines), width: +frame.width, scroll: page.documentElement.scrollWidth, images: page.images.length,
            cut: cut.map(e => e.textContent.trim().slice(0, 80)), missing: missing.map(e => e.alt + e.src.slice(0, 80)), wide: wide.map(e => e.tagName + ": " + e.textContent.trim().slice(0, 120))};
  });
  const result = document.createElement("pre");
  result.textContent = JSON.stringify(found);
  document.body.replaceChildren(result);
};
</script>"""
FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
         "--disable-sync --hide-scrollbars --dump-dom").split()


def measure(pages, widths, chromium, folder) -> list:  # of a dictionary for each page and width
    "What Chromium finds in pages (name -> HTML): their width, what juts out of the column, Markdown's tables that scroll, missing images. One process."
    frames = [f'<iframe title="{html.escape(name)}" width={width} height=800 srcdoc="{html.escape(text)}"></iframe>'
              for name, text in pages.items() for width in widths]
    (folder / "all.html").write_text(f"<!doctype html><meta charset=utf-8><body>{MEASURE}{''.join(frames)}</body>", encoding="utf-8")
    command = [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", (folder / "all.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(html.unescape(re.search(r"<pre>(.*)</pre>", done.stdout, re.S)[1]))
