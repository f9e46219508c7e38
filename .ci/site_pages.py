"""What the site's pages have that the notebooks do not: processors that settings.ini names (`procs`), run when the site is staged."""
import re

from nbdev.process import Processor

from make_readme import CAPTION


class CaptionsOnce(Processor):
    "Without the captions that .ci/readable.py wrote below the figures: Quarto sets them itself, and numbers each figure that has a label."
    def begin(self): self.number = 0

    def cell(self, cell):
        if cell.cell_type == "markdown" and cell.source.startswith(CAPTION): cell.source = None
        elif cell.cell_type == "code" and re.search(r"^#\|\s*fig-cap:", cell.source, re.M): self.label(cell)

    def label(self, cell):
        self.number += 1
        if not re.search(r"^#\|\s*label:", cell.source, re.M): cell.source = f"#| label: fig-number-{self.number}\n{cell.source}"
