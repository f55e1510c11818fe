"""The page in a real browser without a network: it is drawn, in light and dark, and its tables sort.

CLDYN_BROWSER names the browser; else the first of chromium, chromium-browser, google-chrome, chrome on PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_report import example

from cldyn_core.report import write_report

_NAMES = (os.environ.get("CLDYN_BROWSER", ""), "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in _NAMES if name and (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser: install chromium, or set CLDYN_BROWSER")

SIZE = (900, 1200)


def browse(page: Path, *options: str) -> str:
    """Open a page headless, with a proxy that does not answer, and return what the browser prints."""
    profile = page.parent / "profile"
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--proxy-server=127.0.0.1:9", f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}",
        *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("scheme", "dark"), [("1", False), ("0", True)])
def test_it_is_drawn(tmp_path: Path, scheme: str, dark: bool) -> None:
    page = write_report(example(), tmp_path / "report")
    picture = tmp_path / "page.png"
    browse(page, f"--screenshot={picture}", f"--blink-settings=preferredColorScheme={scheme}")
    image = cv2.imread(str(picture))
    assert image is not None and image.shape == (SIZE[1], SIZE[0], 3)
    assert (np.median(image) < 64) == dark
    colors = np.unique(image.astype(int) @ (1, 256, 65536))
    assert len(colors) > 1000  # text, charts and pictures, not an empty page


def test_tables_sort_and_pictures_enlarge_by_a_click(tmp_path: Path) -> None:
    page = write_report(example("<b>ours</b>"), tmp_path / "report")
    changed = page.with_name("changed.html")
    changed.write_text(page.read_text().replace("</body>", f"<script>{_CLICKS}</script></body>"))
    dom = browse(changed, "--dump-dom")
    assert "<h1>Evaluation of &lt;b&gt;ours&lt;/b&gt;</h1>" in dom
    assert re.findall(r"<li>(.*?)</li>", dom.partition('id="orders"')[2]) == [
        "mean ours max",
        "ours mean max",  # EN, higher is better: 7.0, 6.5, 5.0
        "max mean ours",  # Q_CV, lower is better: 400, 500, none
        "mean max ours",  # clicked again: the missing one stays last
        "ours max mean",  # by name: <b>ours</b> begins with a sign
    ]
    assert re.search(r"<dialog[^>]* open", dom)
    assert re.search(r'class="bar">.*?<span>&lt;b&gt;ours&lt;/b&gt;</span>', dom)


_CLICKS = """
  const orders = document.createElement("ol");
  orders.id = "orders";
  document.body.append(orders);
  const heads = document.querySelectorAll("thead button");
  for (const head of [null, heads[1], heads[2], heads[2], heads[0]]) {
    head?.click();
    const names = [...document.querySelectorAll("tbody th")].map((th) => th.textContent.match(/mean|ours|max/)[0]);
    orders.append(Object.assign(document.createElement("li"), { textContent: names.join(" ") }));
  }
  document.querySelectorAll(".frame")[2].click();
"""
