"""The page as a reader meets it: in a real browser, offline."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from simulator.report import read_study, report_page, roofline
from simulator.sweep import sweep

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[test]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
SCATTERS = (
    "pareto-cycles-energy_pj", "pareto-cycles-area_mm2", "pareto-energy_pj-area_mm2",
    "front-cycles-energy_pj-area_mm2", "roofline",
)  # fmt: skip
CUT = """\
skipper: 1
description: sweeps/digits_cnn.yaml, cut small, with a chip and a work more.
chips:
  alpha: {arch: escalate}
  beta: {arch: escalate, set: {array.slices: 3}}
works:
  digits: {trace: digits_cnn}
  part: {trace: digits_cnn, without: linear}
axes:
  array.blocks: [2, 8]
  activation_buffer.size: [8 KiB, 64 KiB]
  dram.bandwidth: [1 GB/s, 32 GB/s]
"""


@dataclass
class Opened:
    """A page, and what went wrong on it."""

    tab: Any
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def settle(self) -> None:
        self.tab.wait_for_function("document.documentElement.dataset.ready === 'true'", timeout=60_000)

    def points(self) -> dict[str, int]:
        """The points that each figure draws."""
        return {name: self.tab.locator(f"#{name} .scatterlayer .points path").count() for name in SCATTERS}

    @property
    def count(self) -> str:
        return str(self.tab.inner_text("#count"))

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        self.tab.mouse.move(*begin)
        self.tab.mouse.down()
        self.tab.mouse.move((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
        self.tab.mouse.move(*end, steps=3)
        self.tab.mouse.up()
        self.tab.wait_for_timeout(100)
        self.settle()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The report of a real sweep of two chips and two works."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "cut.yaml").write_text(CUT, "utf-8")
    frame = sweep(folder / "cut.yaml", folder / "space", workers=1, plans=folder / "plans")
    placed = roofline(frame)
    assert (placed["macs_per_s"] <= placed["roof"] * (1 + 1e-12)).all()
    assert frame["peak_bandwidth_gb_s"].tolist() == (frame["dram.bandwidth"] / 1e9).tolist()
    file = folder / "report.html"
    file.write_text(report_page(read_study(folder / "space")), "utf-8")
    found = Opened(browser.new_page(viewport={"width": 1280, "height": 900}))
    found.tab.on("console", lambda message: message.type == "error" and found.wrong.append(message.text))
    found.tab.on("pageerror", lambda error: found.wrong.append(str(error)))
    found.tab.on("request", lambda request: found.asked.append(request.url))
    found.tab.goto(file.as_uri())
    found.settle()
    return found


@pytest.fixture
def fresh(page: Opened) -> Iterator[Opened]:
    """The page with nothing chosen; afterwards nothing may have gone wrong."""
    assert page.count == "32 of 32 points"
    yield page
    if page.tab.locator("#clear").is_enabled():
        page.tab.click("#clear")
    page.settle()
    assert page.wrong == []
    assert len(page.asked) == 1


def test_every_figure_shows_every_point_and_nothing_is_asked_of_the_network(fresh: Opened) -> None:
    assert fresh.points() == dict.fromkeys(SCATTERS, 32)
    assert {"DRAM 1 GB/s", "DRAM 32 GB/s"} <= set(fresh.tab.locator("#roofline .textpoint").all_text_contents())
    assert len(fresh.asked) == 1
    assert fresh.asked[0].startswith("file:")


def test_no_button_sends_figures_anywhere(fresh: Opened) -> None:
    buttons = fresh.tab.locator(".modebar-btn").evaluate_all("all => all.map((button) => button.dataset.title)")
    assert set(buttons) == {"Download plot as a PNG", "Zoom", "Pan", "Box Select", "Lasso Select", "Reset axes"}


def test_every_axis_has_a_title_with_its_unit(fresh: Opened) -> None:
    plots = fresh.tab.locator(".plot").all()
    assert len(plots) == len(SCATTERS) + 1 + 2 * 4
    for plot in plots:
        titles = plot.locator(".xtitle, .x2title, .x3title, .ytitle, .axis-title").all_text_contents()
        name = plot.get_attribute("id")
        if name == "parallel":
            assert titles[:3] == ["chip", "work", "array.blocks"]
            assert titles[-3:] == ["time(thousand cycles)", "energy (µJ)", "area (mm²)"]
        elif name.startswith(("alone", "variance")):
            assert titles.count("axis") == 1
            assert len(titles) == 4
            assert all(title == "axis" or re.search(r"\((×|%)\)$", title) for title in titles), titles
        else:
            assert len(titles) == 2, name
            unit = r"\(((thousand |million )?cycles|µJ|mm²|[GT]MAC/s|performed MACs per DRAM byte)\)$"
            assert all(re.search(unit, title) for title in titles), titles


def test_hover_shows_parameters_and_results(fresh: Opened) -> None:
    for name in SCATTERS:
        point = fresh.tab.locator(f"#{name} .scatterlayer .points path").nth(5)
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        fresh.tab.mouse.move(box["x"] + box["width"] / 2 - 1, box["y"] + box["height"] / 2)
        fresh.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        label = fresh.tab.locator(f"#{name} .hoverlayer .hovertext")
        label.first.wait_for(timeout=5000)
        text = label.first.text_content()
        for part in ("array.blocks: ", "dram.bandwidth: ", "GB/s", "energy: ", "µJ", "mm²", "chip: "):
            assert part in text, (name, text)


def test_choosing_a_chip_and_a_work_filters_every_figure_and_the_table(fresh: Opened) -> None:
    whole, rows = fresh.points(), fresh.tab.locator("#points tbody tr").count()
    fresh.tab.select_option("#chip", "alpha")
    fresh.settle()
    half = fresh.points()
    assert fresh.count == "16 of 32 points"
    assert all(half[name] < whole[name] for name in SCATTERS)
    assert half["roofline"] == 16
    fresh.tab.select_option("#work", "digits")
    fresh.settle()
    assert fresh.count == "8 of 32 points"
    assert fresh.points()["roofline"] == 8
    assert 0 < fresh.tab.locator("#points tbody tr").count() < rows
    assert set(fresh.tab.locator("#points tbody td:nth-child(2)").all_text_contents()) == {"alpha"}
    assert fresh.tab.locator(".pair:visible").count() == 2
    fresh.tab.click("#clear")
    fresh.settle()
    assert fresh.points() == whole
    assert fresh.tab.locator("#points tbody tr").count() == rows


def test_brushing_parallel_coordinates_filters_every_figure(fresh: Opened) -> None:
    whole = fresh.points()
    axis = fresh.tab.locator("#parallel .axis-brush").nth(2)  # array.blocks
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    middle = box["x"] + box["width"] / 2
    fresh.drag((middle, box["y"] + 0.99 * box["height"]), (middle, box["y"] + 0.55 * box["height"]))
    assert fresh.count == "16 of 32 points"
    assert fresh.tab.inner_text("#why") == "chosen on 1 axis"
    assert all(count < whole[name] for name, count in fresh.points().items())
    fresh.tab.uncheck("#only-front")
    assert set(fresh.tab.locator("#points tbody td:nth-child(4)").all_text_contents()) == {"2"}
    fresh.tab.check("#only-front")


def test_picking_points_in_one_figure_chooses_them_in_all(fresh: Opened) -> None:
    box = fresh.tab.locator("#pareto-cycles-area_mm2 .nsewdrag").first
    box.scroll_into_view_if_needed()
    area = box.bounding_box()
    fresh.drag((area["x"] + 2, area["y"] + 2), (area["x"] + area["width"] / 2, area["y"] + area["height"] - 2))
    picked = int(fresh.count.split()[0])
    assert 0 < picked < 32
    assert fresh.points()["roofline"] == picked
    assert fresh.tab.inner_text("#why") == f"{picked} picked"


def test_the_table_is_sorted_by_what_is_clicked(fresh: Opened) -> None:
    energies = fresh.tab.locator("#points tbody td:nth-child(8)")
    for arrow, down in (("↑", False), ("↓", True)):
        fresh.tab.locator("#points thead button", has_text="energy").click()
        assert fresh.tab.locator("#points thead button", has_text="energy").inner_text() == f"energy {arrow}"
        found = [float(text.split()[0]) for text in energies.all_text_contents()]
        assert found == sorted(found, reverse=down)
