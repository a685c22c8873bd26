"""The atlas in a real browser: what is clicked, pressed and downloaded, with names that try to be code."""

import csv
import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode
from xml.etree import ElementTree

import polars as pl
import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright (it brings no browser)")

from browsing import browser, chromium
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Position, expect
from test_atlas import HOSTILE, LIBRARY, STAGES

from analyses.atlas.building import build_atlas
from analyses.atlas.profiles import SHOWN
from analyses.atlas.specs import LEFT, RIGHT
from analyses.contrasts import best_contrasts, contrasts
from analyses.metric_words import unit_of
from benchmarks.atlas_tables import ASKED, OTHER, TEMPLATES, Made, model_tables, named_terms, shared_tables

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="needs a Chromium: apt-get install chromium, or VESALIUS_CHROMIUM"
)

MADE = {"shallow": Made(6, prompts=30, answered=4), "other": Made(9, prompts=30, answered=4)}
ROW, TOP = 34, 6
SVG = "{http://www.w3.org/2000/svg}"
SAME_FOR_ALL: dict[str, Any] = {
    "data": {"values": [{"found": 3, "kind": "planted"}]},
    "mark": "bar",
    "encoding": {"x": {"field": "found", "type": "quantitative"}, "y": {"field": "kind", "type": "nominal"}},
}
TABLES = {slug: model_tables(slug, made, LIBRARY) for slug, made in MADE.items()}
DRUGS = {"model": "shallow", "concept": "drugs", "labelling": ASKED}
LESIONS = next(contrast.metric for contrast in best_contrasts(contrasts()) if contrast.technique == "lesions")
"""The profile of lesions that the consensus reads: it is shown first."""


@dataclass
class Atlas:
    """An open page, and what it said and asked for."""

    page: Page
    address: str
    said: list[str] = field(default_factory=list)

    def load(self, **state: object) -> None:
        """Open it anew with this state in the address."""
        self.page.goto("about:blank")
        self.page.goto(self.address + (f"#{urlencode(state)}" if state else ""))
        self.page.locator("html[data-ready='1']").wait_for(state="attached")

    def go(self, **state: object) -> None:
        """Follow an address within the open page, until its layer is shown."""
        self.page.evaluate("(hash) => { location.hash = hash; }", urlencode(state))
        expect(self.page.locator("#layer-name")).to_have_text(named(int(str(state["layer"]))))
        expect(self.page.locator("#model")).to_have_value(str(state["model"]))

    def state(self) -> dict[str, str]:
        """What the address tells."""
        return {key: values[0] for key, values in parse_qs(self.page.evaluate("location.hash.slice(1)")).items()}

    def expect_state(self, **wanted: str) -> None:
        """Wait until the address tells this."""
        for key, value in wanted.items():
            expect(self.page).to_have_url(re.compile(rf"[#&]{key}={re.escape(urlencode({'': value})[1:])}(&|$)"))

    def download(self, panel: str, kind: str) -> tuple[str, str]:
        """Name and content of the file that a panel's button gives."""
        with self.page.expect_download() as offered:
            self.page.locator(f"[data-panel='{panel}'] .tools button", has_text=kind).click()
        return offered.value.suggested_filename, Path(offered.value.path()).read_bytes().decode("utf-8")


def named(layer: int) -> str:
    return "the embeddings" if layer < 0 else f"layer {layer}"


def watched(context: BrowserContext, path: Path) -> Atlas:
    """A page whose messages, errors, requests and breaches of its policy are all taken down."""
    atlas = Atlas(context.new_page(), path.as_uri())

    def heard(message: ConsoleMessage) -> None:
        atlas.said.append(f"{message.type}: {message.text}")

    def asked(url: str) -> None:
        if not url.startswith((atlas.address, "about:", "data:", "blob:")):
            atlas.said.append(f"request: {url}")

    atlas.page.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective}`));"
        "globalThis.alert = () => console.error('alert');"
    )
    atlas.page.on("console", heard)
    atlas.page.on("pageerror", lambda error: atlas.said.append(f"error: {error}"))
    atlas.page.on("request", lambda request: asked(request.url))
    atlas.page.on("dialog", lambda dialog: atlas.said.append(f"dialog: {dialog.message}"))
    return atlas


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    with browser(1280, 900) as found:
        found.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        yield found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "atlas.html"
    charts = [
        ("validity_chart", "How well each technique finds what was planted.", SAME_FOR_ALL),
        ("wide_chart", "One that is wider than its panel.", {**SAME_FOR_ALL, "width": 1300}),
    ]
    path.write_bytes(build_atlas(shared_tables(LIBRARY), list(TABLES), TABLES.__getitem__, charts))
    return path


@pytest.fixture(scope="module")
def loaded(context: BrowserContext, built: Path) -> Atlas:
    atlas = watched(context, built)
    atlas.load(**DRUGS, layer=2)
    return atlas


@pytest.fixture
def atlas(loaded: Atlas) -> Iterator[Atlas]:
    """The open page at drugs, layer 2; whatever a test does, the page must stay silent."""
    loaded.page.emulate_media(media="screen", color_scheme="light", reduced_motion="reduce")
    loaded.page.set_viewport_size({"width": 1280, "height": 900})
    loaded.go(**DRUGS, layer=2)
    yield loaded
    assert loaded.said == []


def cell(atlas: Atlas, place: str, row: int, layer: int, layers: int) -> Position:
    """Where a cell of a map lies, from its chart's corner."""
    canvas = atlas.page.locator(f"#{place} canvas")
    box = canvas.bounding_box()
    assert box is not None
    share = (layer + 1.5) / (layers + 1)
    return Position(x=LEFT + share * (box["width"] - LEFT - RIGHT), y=TOP + ROW * (row + 0.5))


def table_of(place: Locator) -> list[list[str]]:
    """The text of a table's rows."""
    return [row.locator("th, td").all_inner_texts() for row in place.locator("tbody tr").all()]


def number(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def test_it_opens_without_a_message_a_request_or_a_breach_of_its_policy(atlas: Atlas) -> None:
    atlas.load()
    expect(atlas.page.locator("#verdict")).to_contain_text("drugs")
    assert atlas.page.locator("canvas").count() >= 6
    policy = atlas.page.locator("meta[http-equiv]").get_attribute("content")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_a_click_on_a_cell_is_followed_by_the_whole_page(atlas: Atlas) -> None:
    rows = atlas.page.locator("#row option").all_inner_texts()
    row = next(place for place, name in enumerate(rows) if name.startswith("drugs"))
    atlas.page.locator("#map canvas").click(position=cell(atlas, "map", row, 4, 6))
    atlas.expect_state(layer="4", concept="drugs")
    expect(atlas.page.locator("#layer-name")).to_have_text("layer 4")
    expect(atlas.page.locator("#cell")).to_contain_text("layer 4")
    expect(atlas.page.locator("#picture-caption")).to_contain_text("at layer 4")
    expect(atlas.page.locator("[data-panel='terms'] caption").first).to_contain_text("layer 4")


def test_arrow_keys_move_over_the_map_and_stop_at_its_edges(atlas: Atlas) -> None:
    atlas.page.locator("#map").focus()
    for key, layer in (("ArrowRight", 3), ("End", 5), ("ArrowRight", 5), ("Home", 0), ("ArrowLeft", 0)):
        atlas.page.keyboard.press(key)
        expect(atlas.page.locator("#layer-name")).to_have_text(named(layer))
    rows = atlas.page.locator("#row option").all_inner_texts()
    atlas.page.keyboard.press("ArrowDown")
    expect(atlas.page.locator("#verdict")).to_contain_text(rows[1].split(" · ")[0])
    for _ in rows:
        atlas.page.keyboard.press("ArrowUp")
    expect(atlas.page.locator("#verdict")).to_contain_text(rows[0].split(" · ")[0])


def test_a_drag_of_the_slider_is_one_step_back_and_forward(atlas: Atlas) -> None:
    slide = """(value) => {
      const slider = document.getElementById("layer");
      slider.value = value;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    for layer in (3, 4, 5):
        atlas.page.evaluate(slide, layer)
    atlas.page.evaluate("() => document.getElementById('layer').dispatchEvent(new Event('change', { bubbles: true }))")
    atlas.expect_state(layer="5")
    expect(atlas.page.locator("#cell")).to_contain_text("layer 5")
    atlas.page.go_back()
    expect(atlas.page.locator("#layer-name")).to_have_text("layer 2")
    atlas.page.go_forward()
    expect(atlas.page.locator("#layer-name")).to_have_text("layer 5")
    expect(atlas.page.locator("#layer")).to_have_value("5")


@pytest.mark.parametrize("term", [term for term in HOSTILE if "\n" not in term])
def test_a_term_is_a_term_whatever_it_is_called(atlas: Atlas, term: str) -> None:
    atlas.go(**DRUGS, layer=2, term=term)
    heading = atlas.page.locator("#term h3")
    expect(heading).to_have_text(re.sub(r"\s+", " ", term))
    assert heading.evaluate("(it) => it.textContent") == term
    seen = re.sub(r"\s+", " ", term)
    expect(atlas.page.locator("#term")).to_contain_text(f"Everyone knows that {seen} is a matter of")
    assert atlas.page.locator("#term script, #terms script, #term img").count() == 0


def test_a_term_says_how_frequent_it_is(atlas: Atlas) -> None:
    uses = shared_tables(LIBRARY)["frequencies"].filter(concept="drugs")
    about = atlas.page.locator("#term p").first
    atlas.go(**DRUGS, layer=2, term="constructor")
    assert uses.filter(term="constructor")["zipf_frequency"].item() == pytest.approx(3.32)
    expect(about).to_contain_text("in English 2,100 uses in 10⁹ words")
    atlas.go(**DRUGS, layer=2, term=uses.filter(zipf_frequency=0)["term"][0])
    expect(about).to_contain_text("a rare word in English: under 10 uses in 10⁹")


def test_a_term_is_found_by_name_in_any_case_and_an_unknown_one_is_said(atlas: Atlas) -> None:
    field_ = atlas.page.locator("#term-name")
    field_.fill("CONSTRUCTOR")
    field_.press("Enter")
    atlas.expect_state(term="constructor")
    expect(atlas.page.locator("#term h3")).to_have_text("constructor")
    field_.fill("aspirin")
    expect(atlas.page.locator("#term-unknown")).to_contain_text("No term aspirin")
    field_.press("Enter")
    atlas.expect_state(term="constructor")


def test_a_term_is_found_by_a_part_of_its_name(atlas: Atlas) -> None:
    field_, found = atlas.page.locator("#term-name"), atlas.page.locator("#term-found button")
    field_.fill("STR")
    assert [re.sub(r"\s+", " ", text) for text in found.all_inner_texts()] == ["constructor", "toString"]
    field_.press("Enter")
    assert "term" not in atlas.state()
    field_.press("ArrowDown")
    atlas.page.keyboard.press("ArrowDown")
    atlas.page.keyboard.press("Enter")
    atlas.expect_state(term="toString")
    expect(found).to_have_count(0)
    expect(field_).to_have_value("toString")
    # The only one that has these letters is meant.
    field_.fill("[c]")
    field_.press("Enter")
    atlas.expect_state(term="a.b[c].d")
    field_.fill("o")
    expect(found.first).to_be_visible()
    field_.press("Escape")
    expect(found).to_have_count(0)
    # A name that begins another is not taken by going on to the other.
    atlas.go(model="shallow", concept="control-words", labelling=ASKED, layer=2)
    expect(atlas.page.locator("#row")).to_have_value(f"control-words|{ASKED}")
    field_.fill("w1")
    field_.press("ArrowDown")
    expect(found).to_have_text(["w1", "w10", "w11"])
    found.nth(2).click()
    atlas.expect_state(term="w11")


def test_neighbours_and_their_cosines_are_the_tables(atlas: Atlas) -> None:
    atlas.go(**DRUGS, layer=3, term="__proto__")
    near = atlas.page.locator("[data-panel='terms'] table").first
    expect(near.locator("caption")).to_contain_text("Nearest to __proto__ at layer 3")
    expect(near.locator("caption")).to_contain_text(
        "over all asking prompts of drugs that are not held out, whichever labelling they ask for"
    )
    rows = TABLES["shallow"]["neighbours"].filter(concept="drugs", layer=3, term="__proto__").sort("rank")
    told = near.locator("tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.cells].map((it) => it.textContent))"
    )
    assert [row[0] for row in told] == rows["neighbour"].to_list()
    assert [number(row[-1]) for row in told] == pytest.approx(rows["similarity"].to_list(), abs=5.1e-4)


def test_pairs_say_what_their_prompts_ask_for_the_chosen_labelling_first(
    context: BrowserContext, tmp_path: Path
) -> None:
    library = named_terms(3, 6)
    shared = shared_tables(library)
    first = pl.when(pl.col("template") == "ask-one").then(pl.lit(OTHER)).otherwise("labelling")
    shared["prompts"] = shared["prompts"].with_columns(labelling=first)
    rows = model_tables("asked", Made(4, prompts=18, answered=2), library)
    path = tmp_path / "atlas.html"
    path.write_bytes(build_atlas(shared, ["asked"], lambda _: rows))
    atlas = watched(context, path)
    pairs = rows["patches"].filter(concept="concept-0").unique(["template", "term", "corrupting_term"])
    both = pairs.group_by("term").agg(pl.col("template").unique()).sort("term")
    term = next(name for name, asked in both.iter_rows() if "ask-one" in asked and len(asked) > 1)
    atlas.load(model="asked", concept="concept-0", labelling=ASKED, layer=2, term=term)
    table = atlas.page.locator("#term table", has_text="Pairs of")
    expect(table.locator("caption")).to_contain_text(f"first those that ask for {ASKED}")
    told = [(row[0], row[1]) for row in table_of(table)]
    others = [place for place, (prompt, _) in enumerate(told) if prompt.startswith("The word ")]
    assert others
    assert [asked for _, asked in told] == [ASKED] * (len(told) - len(others)) + [OTHER] * len(others)
    assert others == list(range(len(told) - len(others), len(told)))
    assert atlas.said == []
    atlas.page.close()


def test_profiles_hold_the_numbers_of_the_warehouse_on_the_screen_and_as_csv(atlas: Atlas) -> None:
    panel = atlas.page.locator("#profile-lesions")
    panel.locator("summary").click()
    expect(panel.locator("tbody tr")).to_have_count(MADE["shallow"].layers)
    seen = {int(number(row[0])): row[1:] for row in table_of(panel)}
    panel.locator("summary").click()
    name, content = atlas.download("profile-lesions", "CSV")
    assert name == f"profile-lesions-shallow-drugs-{ASKED}.csv"
    told = list(csv.DictReader(io.StringIO(content, newline="")))
    keys = {"model": "shallow", "concept": "drugs", "labelling": ASKED}
    keys |= {"technique": "lesions", "metric": LESIONS, "position": "last"}
    assert all(row.items() >= keys.items() for row in told)
    numbers = ("value", "low", "high", "null_mean", "null_high", "null_p")
    left = {int(row["layer"]): [row[name] for name in numbers] for row in told}
    rows = TABLES["shallow"]["profiles"].filter(concept="drugs", labelling=ASKED, metric=LESIONS, position="last")
    assert set(seen) == set(left) == set(rows["layer"])
    for row in rows.iter_rows(named=True):
        expected = [row[name] for name in numbers]
        # To four digits of the largest, which is above 1; on the screen to three of each.
        assert list(map(float, left[row["layer"]])) == pytest.approx(expected, abs=5.1e-4)
        assert list(map(number, seen[row["layer"]])) == pytest.approx(expected, abs=5.1e-4, rel=5.1e-3)


def test_a_profile_says_what_it_means_and_whose_its_dashed_lines_are(atlas: Atlas) -> None:
    lesions, activations = (atlas.page.locator(f"#profile-{name}") for name in ("lesions", "activations"))
    expect(lesions.locator(".means")).to_contain_text("less what the control concepts have at that layer")
    expect(lesions.locator(".says")).to_contain_text(f" of the {unit_of(LESIONS).removeprefix('share of the ')} (")
    expect(lesions.locator(".controlled li")).to_have_text(["control-words"])
    expect(activations.locator(".controlled li")).to_have_text([f"control-words · {ASKED}", "control-words · origin"])
    keys = activations.locator(".controlled line").evaluate_all(
        "(all) => all.map((it) => it.getAttribute('stroke-dasharray'))"
    )
    drawn = set(re.findall(r'stroke-dasharray="([^"]+)"', atlas.download("profile-activations", "SVG")[1]))
    assert len(set(keys)) == 2
    # The null alone is dotted: each dash of a control's line begins with more than a dot.
    assert all(float(key.split()[0]) >= 6 for key in keys)
    assert {key.replace(" ", ",") for key in keys} <= {dash.replace(" ", ",") for dash in drawn}


@pytest.mark.parametrize(
    ("share", "said"), [(0.5, "A control lies within that interval"), (1.0, "No more than a control")]
)
def test_a_control_that_has_as_much_is_told_from_one_within_the_interval(
    context: BrowserContext, tmp_path: Path, share: float, said: str
) -> None:
    library = named_terms(3, 6)
    rows = model_tables("judged", Made(4, prompts=8, answered=2), library)
    shown = (pl.col("metric") == LESIONS) & (pl.col("position") == "last")
    own = rows["profiles"].filter(shown, pl.col("layer") >= 0, concept="concept-0", labelling=ASKED)
    best = own.sort("value", descending=True).row(0, named=True)
    height = best["low"] + share * (best["value"] - best["low"])
    assert height > best["low"] or share == 1.0
    rival = shown & (pl.col("concept") == "control-1")
    rows["profiles"] = rows["profiles"].with_columns(
        value=pl.when(rival).then(height).when(shown & (pl.col("concept") == "control-2")).then(-9.0).otherwise("value")
    )
    path = tmp_path / "atlas.html"
    path.write_bytes(build_atlas(shared_tables(library), ["judged"], lambda _: rows))
    atlas = watched(context, path)
    atlas.load(model="judged", concept="concept-0", labelling=ASKED, layer=2)
    expect(atlas.page.locator("#profile-lesions .says")).to_contain_text(f"{said}: control-1 has ")
    assert atlas.said == []
    atlas.page.close()


def test_the_maps_cells_leave_as_csv_and_are_the_tables(atlas: Atlas) -> None:
    name, content = atlas.download("map", "CSV")
    assert name == "map-shallow-consensus.csv"
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    cells = TABLES["shallow"]["knowledge_map"].filter(mode="consensus")
    expected = {
        (row["concept"], row["labelling"], row["layer"]): row["confidence"] for row in cells.iter_rows(named=True)
    }
    assert rows
    for row in rows:
        found = expected[row["concept"], row["labelling"], int(row["layer"])]
        assert float(row["confidence"]) == pytest.approx(found, abs=5.1e-5)


def test_names_in_a_csv_are_quoted_and_no_spreadsheet_runs_them(atlas: Atlas) -> None:
    name, content = atlas.download("picture", "CSV")
    assert name == "picture-shallow-drugs-layer-2.csv"
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    terms = [row["term"] for row in rows]
    assert len(terms) == len(HOSTILE)
    safe = [f"'{term}" if term[0] in "=+-@\t\r" else term for term in HOSTILE]
    assert terms == safe
    places = TABLES["shallow"]["projections"].filter(concept="drugs", layer=2).select("term", "x", "y")
    frame = (
        TABLES["shallow"]["projections"].filter(concept="drugs").select(pl.col("x", "y").max() - pl.col("x", "y").min())
    )
    for row, term in zip(rows, HOSTILE, strict=True):
        (x, y) = places.filter(term=term).select("x", "y").row(0)
        assert float(row["x"]) == pytest.approx(x, abs=frame["x"][0] / 4095 * 0.51 + 2e-4)
        assert float(row["y"]) == pytest.approx(y, abs=frame["y"][0] / 4095 * 0.51 + 2e-4)


def file_of(atlas: Atlas, place: Locator) -> tuple[str, list[dict[str, str]]]:
    """Name and rows of the file that a table gives."""
    with atlas.page.expect_download() as offered:
        place.locator("caption button").click()
    content = Path(offered.value.path()).read_bytes().decode("utf-8")
    return offered.value.suggested_filename, list(csv.DictReader(io.StringIO(content, newline="")))


def test_tables_leave_with_their_keys_and_plain_numbers_under_names_of_whole_words(atlas: Atlas) -> None:
    name, verdicts = file_of(atlas, atlas.page.locator("table.verdicts:visible"))
    assert name == "where-the-model-shallow-keeps-each-concept.csv"
    rows = TABLES["shallow"]["localisations"].filter(mode="consensus")
    known = {(row["concept"], row["labelling"]): row for row in rows.iter_rows(named=True)}
    assert len(verdicts) > 2
    for row in verdicts:
        expected = known[row["concept"], row["labelling"]]
        assert (row["model"], row["verdict"]) == ("shallow", expected["verdict"])
        assert float(row["confidence"]) == pytest.approx(expected["confidence"], abs=5.1e-5)
    _, counts = file_of(atlas, atlas.page.locator("#card table", has_text="Models").first)
    model = TABLES["shallow"]["models"]
    assert {row["model"]: row["weights"] for row in counts}["shallow"] == str(model["parameters"].item())
    atlas.go(**DRUGS, layer=3, term="__proto__")
    near = atlas.page.locator("#terms table", has_text="Nearest to")
    expect(near.locator("caption")).to_contain_text("at layer 3")
    name, told = file_of(atlas, near)
    assert name == "nearest-to-proto-at-layer-3-shallow-drugs.csv"
    rows = TABLES["shallow"]["neighbours"].filter(concept="drugs", layer=3, term="__proto__").sort("rank")
    keys = {"model": "shallow", "concept": "drugs", "layer": "3", "term": "__proto__"}
    assert all(row.items() >= keys.items() for row in told)
    assert [float(row["similarity"]) for row in told] == pytest.approx(rows["similarity"].to_list(), abs=5.1e-4)
    name, told = file_of(atlas, atlas.page.locator("#terms table", has_text="Effects by term"))
    assert name == f"effects-by-term-at-layer-3-shallow-drugs-{ASKED}.csv"
    assert {row["labelling"] for row in told} == {ASKED}


def test_a_picture_is_looked_at_from_near_by_keys_buttons_wheel_and_drag(atlas: Atlas) -> None:
    page, near = atlas.page, atlas.page.locator("[data-zoom='picture'] output")
    picture = page.locator("#picture")
    picture.focus()
    for key, told in (
        ("+", "1.5 times"),
        ("ArrowLeft", "1.5 times"),
        ("+", "2.3 times"),
        ("-", "1.5 times"),
        ("0", ""),
    ):
        page.keyboard.press(key)
        expect(near).to_have_text(told)
    bar = page.locator("[data-zoom='picture']")
    bar.get_by_role("button", name="Nearer").click()
    expect(near).to_have_text("1.5 times")
    # By wheel only for who is in the picture, or holds Ctrl; a drag chooses no term.
    picture.blur()
    picture.hover()
    page.mouse.wheel(0, 1)
    expect(near).to_have_text("1.5 times")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    expect(near).to_have_text("2.0 times")
    seen = [atlas.download("picture", "SVG")[1]]
    box = picture.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 250, box["y"] + 250)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 200, steps=4)
    page.mouse.up()
    seen.append(atlas.download("picture", "SVG")[1])
    assert "term" not in atlas.state()
    bar.get_by_role("button", name="whole").click()
    expect(near).to_have_text("")
    seen.append(atlas.download("picture", "SVG")[1])
    assert len(set(seen)) == 3
    # Another layer is seen from as near; another model is seen whole.
    bar.get_by_role("button", name="Nearer").click()
    atlas.go(**DRUGS, layer=3)
    expect(near).to_have_text("1.5 times")
    atlas.go(**{**DRUGS, "model": "other"}, layer=3)
    expect(near).to_have_text("")


def test_the_chosen_term_and_its_neighbours_are_named_in_the_picture(atlas: Atlas) -> None:
    assert ">__proto__<" not in atlas.download("picture", "SVG")[1]
    atlas.go(**DRUGS, layer=3, term="__proto__")
    expect(atlas.page.locator("#term h3")).to_have_text("__proto__")
    _, content = atlas.download("picture", "SVG")
    near = TABLES["shallow"]["neighbours"].filter(concept="drugs", layer=3, term="__proto__")["neighbour"]
    shown = {html.unescape(text) for text in re.findall(r">([^<]+)</text>", content)}
    plain = [name for name in ("__proto__", *near) if len(name) <= 30 and "\n" not in name]
    assert set(plain) <= shown
    assert "x" * 31 not in content


def test_whose_path_is_shown_can_be_chosen(atlas: Atlas) -> None:
    caption, choice = atlas.page.locator("#picture-caption"), atlas.page.locator("#path")
    expect(atlas.page.locator("#path-choice")).to_be_hidden()
    staged = {"model": "shallow", "concept": "stages", "labelling": ASKED}
    atlas.go(**staged, layer=2)
    expect(caption).to_contain_text("for field 0, in order")
    choice.select_option("field 2")
    atlas.expect_state(path="field 2")
    expect(caption).to_contain_text("for field 2, in order")
    assert ">field 2</text>" in atlas.download("picture", "SVG")[1]
    choice.select_option(label=f"each {ASKED}")
    expect(caption).to_contain_text(f"for each {ASKED}, in order")
    choice.select_option(label="the chosen term, else the first")
    atlas.go(**staged, layer=2, term=STAGES[-1])
    expect(caption).to_contain_text("for field 3, in order")
    atlas.page.locator("#paths").uncheck()
    expect(atlas.page.locator("#path-choice")).to_be_hidden()
    atlas.page.locator("#paths").check()


def test_charts_leave_as_svg_with_their_names(atlas: Atlas) -> None:
    """With title, description, names of axes and a key, as they stand in a paper, in either theme the same."""
    layer, group = "layer", "concept · labelling"
    for panel, title, said in (
        ("map", "Knowledge map of shallow", (layer, group, "sure: from 90%", "saliency", "drugs · field")),
        (
            "profile-lesions",
            f"drugs · {ASKED} in shallow: lesions, {next(one.title for one in SHOWN if one.metric == LESIONS)}",
            (layer, unit_of(LESIONS), "control: control-words", "value, with its 95% interval"),
        ),
        ("picture", "drugs at layer 2 of shallow", ("UMAP 1", "UMAP 2", "field 0", "field 3")),
    ):
        name, content = atlas.download(panel, "SVG")
        assert name.endswith(".svg")
        assert content.startswith("<svg")
        root = ElementTree.fromstring(content)
        assert (root[0].tag, root[1].tag) == (f"{SVG}title", f"{SVG}desc")
        assert str(root[0].text).startswith(title)
        assert len(str(root[1].text)) > 60
        shown = {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}
        assert set(said) <= shown
        assert "<path" in content
    atlas.page.locator("#theme").click()
    assert atlas.download("picture", "SVG")[1] == content
    atlas.page.locator("#theme").click()


def test_a_chart_that_says_the_same_for_all_models_is_drawn_and_leaves_as_svg(atlas: Atlas) -> None:
    figure = atlas.page.locator("figure.white").first
    expect(figure.locator("[data-chart] svg")).to_have_count(1)
    with atlas.page.expect_download() as offered:
        figure.locator("button", has_text="SVG").click()
    assert offered.value.suggested_filename == "validity_chart.svg"
    content = Path(offered.value.path()).read_text(encoding="utf-8")
    assert "planted" in content
    assert ElementTree.fromstring(content)[0].text == "How well each technique finds what was planted."


def test_a_wide_chart_has_the_width_of_its_panel_and_on_a_phone_says_that_it_is_scrolled(atlas: Atlas) -> None:
    atlas.load(**DRUGS, layer=2)
    figure = atlas.page.locator("figure.white", has_text="One that is wider")
    drawing, hint = figure.locator("[data-chart] svg"), figure.locator(".aside")
    expect(drawing).to_be_visible()
    assert float(drawing.get_attribute("width") or 0) > 1300
    widths = "(it) => { const scroll = it.querySelector('.scroll'); return [scroll.scrollWidth, scroll.clientWidth]; }"
    wide, seen = figure.evaluate(widths)
    assert wide == seen < 1280
    expect(hint).to_be_hidden()
    atlas.page.set_viewport_size({"width": 390, "height": 844})
    expect(hint).to_be_visible()
    wide, seen = figure.evaluate(widths)
    assert seen < 390
    assert wide > 900


def test_two_models_beside_each_other_differ_by_their_tables(atlas: Atlas) -> None:
    atlas.page.locator("#beside").select_option("other")
    atlas.expect_state(beside="other")
    expect(atlas.page.locator("#difference canvas")).to_be_visible()
    expect(atlas.page.locator("#difference-says")).not_to_be_empty()
    expect(atlas.page.locator("#moved")).to_contain_text("nearest terms")
    expect(atlas.page.locator("#picture-beside-caption")).to_contain_text("other, drugs at layer 2")
    both = atlas.page.locator("#profile-beside")
    expect(both.locator("option")).to_have_text(["activations", "lesions", "patches", "saliency"])
    both.locator("select").select_option("patches")
    atlas.expect_state(technique="patches")
    with atlas.page.expect_download() as offered:
        both.locator("h3 button").click()
    figure = Path(offered.value.path()).read_text(encoding="utf-8")
    assert "shallow and other: patches" in figure
    both.locator("summary").click()
    told = both.locator("tbody tr")
    expect(told).to_have_count(sum(made.layers for made in MADE.values()))
    rows = pl.concat(TABLES[slug]["profiles"] for slug in MADE).filter(
        concept="drugs", labelling=ASKED, metric="delta_restored", position="last"
    )
    seen = told.evaluate_all("(rows) => rows.map((row) => [...row.cells].map((it) => it.textContent))")
    assert [(row[0], int(number(row[1]))) for row in seen] == rows.select("model", "layer").rows()
    assert [number(row[2]) for row in seen] == pytest.approx(rows["value"].to_list(), abs=5.1e-4, rel=5.1e-3)
    _, content = atlas.download("compare", "CSV")
    confidence = {
        slug: {
            (row["concept"], row["labelling"], row["layer"]): row["confidence"]
            for row in TABLES[slug]["knowledge_map"].filter(mode="consensus").iter_rows(named=True)
        }
        for slug in MADE
    }
    compared = [row for row in csv.DictReader(io.StringIO(content, newline="")) if row["concept"] == "drugs"]
    assert {int(row["layer"]) for row in compared} == set(range(6))
    for row in compared:
        key = (row["concept"], row["labelling"])
        mine, theirs = (
            confidence[slug][(*key, int(row[name]))] for slug, name in (("shallow", "layer"), ("other", "layer beside"))
        )
        assert float(row["confidence"]) == pytest.approx(mine, abs=1e-4)
        assert float(row["difference"]) == pytest.approx(mine - theirs, abs=2.1e-4)


@pytest.mark.parametrize(("width", "is_beside"), [(1280, True), (800, False), (390, False)])
def test_two_maps_stand_side_by_side_and_one_under_the_other_where_there_is_no_room(
    atlas: Atlas, width: int, is_beside: bool
) -> None:
    atlas.page.set_viewport_size({"width": width, "height": 900})
    atlas.load(**DRUGS, layer=2, beside="other")
    expect(atlas.page.locator("#own-name")).to_have_text("The map of shallow")
    expect(atlas.page.locator("#beside-name")).to_have_text("The map of other")
    own, other = (atlas.page.locator(f"#{name} canvas") for name in ("map-own", "map-beside"))
    own.scroll_into_view_if_needed()
    expect(other).to_be_visible()
    (one, two) = own.bounding_box(), other.bounding_box()
    assert one is not None
    assert two is not None
    assert one["width"] == pytest.approx(two["width"], abs=1)
    if is_beside:
        assert two["y"] == one["y"]
        assert one["x"] + one["width"] <= two["x"]
        # A click there is followed by the whole page, as on the other map.
        rows = atlas.page.locator("#row option").all_inner_texts()
        row = next(place for place, name in enumerate(rows) if name.startswith("stages"))
        own.click(position=cell(atlas, "map-own", row, 4, 6))
        atlas.expect_state(layer="4", concept="stages")
    else:
        assert two["x"] == one["x"]
        assert 0 <= two["y"] - one["y"] - one["height"] < 80


def test_by_depth_layers_stand_for_those_at_the_same_depth(atlas: Atlas) -> None:
    atlas.page.locator("#axis").select_option("depth")
    atlas.expect_state(axis="depth")
    atlas.go(**DRUGS, layer=5, axis="depth", beside="other")
    expect(atlas.page.locator("#picture-beside-caption")).to_contain_text("at layer 8")


def test_a_deep_link_shows_what_it_says_and_back_and_forward_follow(atlas: Atlas) -> None:
    atlas.load(model="other", concept="drugs", labelling=ASKED, layer=7, term="a.b[c].d", mode="paper")
    expect(atlas.page.locator("#layer-name")).to_have_text("layer 7")
    expect(atlas.page.locator("#mode")).to_have_value("paper")
    expect(atlas.page.locator("#term h3")).to_have_text("a.b[c].d")
    atlas.page.locator("#model").select_option("shallow")
    atlas.expect_state(model="shallow")
    expect(atlas.page.locator("#layer-name")).to_have_text(named(surest("shallow", "drugs", "paper")))
    atlas.page.go_back()
    expect(atlas.page.locator("#model")).to_have_value("other")
    expect(atlas.page.locator("#layer-name")).to_have_text("layer 7")
    atlas.page.go_forward()
    expect(atlas.page.locator("#model")).to_have_value("shallow")


def surest(model: str, concept: str, mode: str = "consensus") -> int:
    """The layer that a row of a map is surest of."""
    rows = TABLES[model]["knowledge_map"].filter(concept=concept, labelling=ASKED, mode=mode)
    return int(rows.sort("confidence", "layer", descending=[True, False])["layer"][0])


def test_another_row_or_model_is_looked_at_where_it_is_surest_and_an_address_where_it_says(atlas: Atlas) -> None:
    layer, row, model = (atlas.page.locator(f"#{name}") for name in ("layer-name", "row", "model"))
    assert len({2, surest("shallow", "stages"), surest("other", "stages"), surest("other", "drugs")}) == 4
    row.select_option(f"stages|{ASKED}")
    atlas.expect_state(concept="stages", layer=str(surest("shallow", "stages")))
    expect(layer).to_have_text(named(surest("shallow", "stages")))
    model.select_option("other")
    expect(layer).to_have_text(named(surest("other", "stages")))
    row.select_option(f"drugs|{ASKED}")
    expect(layer).to_have_text(named(surest("other", "drugs")))
    # What is not localised has no layer of its own: the one that was looked at stays, and is taken along.
    atlas.go(**{**DRUGS, "model": "other"}, layer=4)
    row.select_option(f"control-words|{ASKED}")
    atlas.expect_state(concept="control-words", layer="4")
    # The same row chosen by the layer's own control, or by Back and an address, is where that says.
    atlas.page.go_back()
    atlas.expect_state(concept="drugs", layer="4")
    expect(layer).to_have_text("layer 4")
    atlas.go(model="shallow", concept="stages", labelling=ASKED, layer=0)
    atlas.expect_state(concept="stages", layer="0")


def test_the_loss_of_a_prompt_is_called_raw_where_the_map_marks_no_layer(atlas: Atlas) -> None:
    look = atlas.page.locator("#look")
    atlas.go(**DRUGS, layer=surest("shallow", "drugs"))
    expect(look).to_contain_text("Prompt to look at: ")
    expect(look).not_to_contain_text("raw")
    atlas.go(**DRUGS, layer=5)
    expect(look).to_contain_text("The map does not mark layer 5.")
    lesions = TABLES["shallow"]["lesions"].filter(concept="control-words", lesion="resample", part="layer", layer=5)
    held = [name for name, _, is_held_out, _, _ in TEMPLATES if is_held_out]
    cost = (pl.col("intact_log_probability") - pl.col("log_probability")).max()
    most = lesions.filter(~pl.col("template").is_in(held)).select(cost).item()
    expect(look).to_contain_text("That is the raw loss")
    told = re.search(r"of the control control-words a prompt loses ([\d.\u2212]+) nats", look.inner_text())
    assert told is not None
    assert number(told[1]) == pytest.approx(most, abs=2e-3, rel=5.1e-3)
    atlas.go(model="shallow", concept="control-words", labelling=ASKED, layer=5)
    expect(look).to_contain_text("No layer stands out.")
    expect(look).to_contain_text("any concept may lose as much")


@pytest.mark.parametrize(
    "state",
    [
        {"model": "nobody", "concept": "nothing", "layer": "999999"},
        {"layer": "NaN", "term": "nobody", "mode": "none", "axis": "x", "colour": "y", "beside": "shallow"},
        {"full": '"]<script>', "label": "__proto__", "layer": "-7"},
    ],
)
def test_what_an_address_gets_wrong_gives_way_to_what_is_there(atlas: Atlas, state: dict[str, str]) -> None:
    atlas.load(**state)
    expect(atlas.page.locator("#model")).to_have_value("shallow")
    assert -1 <= int(atlas.state()["layer"]) <= 5
    assert atlas.page.locator("#verdict").inner_text()


def test_what_an_address_asks_for_and_the_page_has_not_is_said_until_something_else_is_chosen(atlas: Atlas) -> None:
    said = atlas.page.locator("#unknown[role='status']")
    expect(said).to_be_hidden()
    atlas.load(model="nobody", concept="nothing", layer=3)
    expect(said).to_contain_text("There is no model nobody on this page: this is shallow.")
    expect(said).to_contain_text("The map of shallow has no concept nothing: this is drugs")
    atlas.page.locator("#row").select_option(f"stages|{ASKED}")
    expect(said).to_be_hidden()
    atlas.load(model="other", concept="drugs", labelling="taste", layer=3)
    expect(said).to_have_text("The map of other has no labelling taste of drugs: this is field.")
    atlas.go(**DRUGS, layer=2)
    expect(said).to_be_hidden()


def test_escape_leaves_an_enlarged_panel(atlas: Atlas) -> None:
    panel = atlas.page.locator("[data-panel='picture']")
    panel.locator(".enlarge").click()
    expect(panel).to_have_class(re.compile(r"\bfull\b"))
    atlas.expect_state(full="picture")
    atlas.page.keyboard.press("Escape")
    expect(panel).not_to_have_class(re.compile(r"\bfull\b"))
    assert "full" not in atlas.state()


def test_the_dark_theme_follows_the_system_and_the_button(atlas: Atlas) -> None:
    html = atlas.page.locator("html")
    atlas.page.emulate_media(color_scheme="dark")
    expect(html).to_have_attribute("data-theme", "dark")
    ground = atlas.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) < 150
    atlas.page.locator("#theme").click()
    expect(html).to_have_attribute("data-theme", "light")
    # What was chosen is kept over a reload; what the system has is followed again.
    atlas.load(**DRUGS, layer=2)
    expect(html).to_have_attribute("data-theme", "light")
    atlas.page.locator("#theme").click()
    expect(html).to_have_attribute("data-theme", "dark")
    atlas.page.emulate_media(color_scheme="light")
    expect(html).to_have_attribute("data-theme", "light")


def test_a_phone_scrolls_down_alone(atlas: Atlas) -> None:
    atlas.page.set_viewport_size({"width": 390, "height": 844})
    atlas.load(**DRUGS, layer=2, term="x" * 300, beside="other")
    expect(atlas.page.locator("#difference canvas")).to_be_attached()
    wide = atlas.page.evaluate(
        "[...document.querySelectorAll('body *')].filter((it) => it.getBoundingClientRect().right > 391 && "
        "!it.closest('.scroll, [hidden], .hidden, .skip')).map((it) => it.id || it.className || it.tagName)"
    )
    assert (atlas.page.evaluate("document.documentElement.scrollWidth"), wide) == (390, [])


def test_on_a_phone_rows_have_their_whole_names_and_captions_end_on_the_screen(atlas: Atlas) -> None:
    atlas.page.set_viewport_size({"width": 390, "height": 844})
    atlas.load(**DRUGS, layer=2, term="constructor")
    expect(atlas.page.locator("#term h3")).to_have_text("constructor")
    _, content = atlas.download("map", "SVG")
    root = ElementTree.fromstring(content)
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    lines = {line.text for line in root.iter(f"{SVG}tspan")}
    assert {"drugs", "stages", ASKED} <= lines
    assert not any("\u2026" in name or name.startswith("c: ") for name in texts)
    past = atlas.page.evaluate(
        "[...document.querySelectorAll('.scroll caption')].filter((it) => it.checkVisibility())"
        ".map((it) => [it.getBoundingClientRect().right, it.closest('table').offsetWidth])"
    )
    assert any(wide > 390 for _, wide in past)
    assert max(right for right, _ in past) <= 390


def test_all_of_it_is_reached_by_keyboard(atlas: Atlas) -> None:
    atlas.load(**DRUGS, layer=2)
    page = atlas.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached: list[str] = []
    for _ in range(150):
        page.keyboard.press("Tab")
        found = page.evaluate("document.activeElement.id || document.activeElement.tagName")
        if found == "map":
            page.keyboard.press("ArrowRight")
            expect(page.locator("#layer-name")).to_have_text("layer 3")
        if found == "layer":
            assert page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == "layer 2"
        reached.append(found)
        if found == "beside":
            break
    order = [
        name
        for name in reached
        if name in {"model", "row", "layer", "axis", "mode", "map", "colour", "term-name", "beside"}
    ]
    assert order == ["model", "row", "layer", "axis", "mode", "map", "colour", "term-name", "beside"]


def test_every_control_and_chart_has_a_name(atlas: Atlas) -> None:
    nameless = atlas.page.evaluate(
        """[...document.querySelectorAll("select, input, button, [role=img], [role=application], [role=region]")]
        .filter((it) => !it.closest("[hidden]"))
        .filter((it) => !(it.labels?.length || it.getAttribute("aria-label") || it.textContent.trim()))
        .map((it) => it.outerHTML.slice(0, 80))"""
    )
    assert nameless == []


def test_print_leaves_controls_out_and_shows_tables_whole(atlas: Atlas) -> None:
    atlas.page.emulate_media(media="print")
    expect(atlas.page.locator("nav")).to_be_hidden()
    expect(atlas.page.locator(".controls")).to_be_hidden()
    cut = atlas.page.locator(".scroll:visible").evaluate_all(
        "(all) => all.filter((it) => it.scrollHeight > it.clientHeight + 1).length"
    )
    assert cut == 0


def test_on_paper_long_panels_break_and_charts_stay_whole(atlas: Atlas) -> None:
    atlas.page.emulate_media(media="print")
    inside = "(all) => [...new Set(all.map((it) => getComputedStyle(it).breakInside))]"
    panels = atlas.page.locator("#verdicts, [data-panel='terms'], [data-panel='term'], #findings, #validity, #card")
    assert panels.evaluate_all(inside) == ["auto"]
    assert atlas.page.locator(".chart, figure, .profile, tbody tr").evaluate_all(inside) == ["avoid"]
    expect(atlas.page.locator("#compare")).to_be_hidden()
    # No part is sent to a page of its own, and none of a table's heads sticks to where the screen had it.
    forced = "(all) => all.map((it) => getComputedStyle(it)).filter((it) => it.breakBefore !== 'auto').length"
    assert atlas.page.locator("main *").evaluate_all(forced) == 0
    assert atlas.page.locator("#findings thead th").first.evaluate("(it) => getComputedStyle(it).position") == "static"


def test_nothing_moves_for_who_asked_for_less_motion(atlas: Atlas) -> None:
    smooth = "getComputedStyle(document.documentElement).scrollBehavior"
    assert atlas.page.evaluate(smooth) == "auto"
    atlas.page.emulate_media(reduced_motion="no-preference")
    assert atlas.page.evaluate(smooth) == "smooth"


ODD = {
    "one-model-all-unsure": Made(5, prompts=8, answered=2, surest=0.3),
    "no-pictures-no-lesions": Made(
        4, prompts=8, answered=2, without=frozenset({"projections", "lesions", "responses"})
    ),
    "no-saliency-no-neighbours": Made(
        4, prompts=8, answered=2, techniques=frozenset({"activations"}), without=frozenset({"neighbours", "patches"})
    ),
    "one-layer": Made(1, prompts=8, answered=2),
    "two-layers": Made(2, prompts=8, answered=2),
    "eighty-layers": Made(80, prompts=8, answered=1),
}


@pytest.mark.parametrize("slug", ODD)
def test_pages_of_odd_models_open_and_move_in_silence(context: BrowserContext, tmp_path: Path, slug: str) -> None:
    library = named_terms(3, 6)
    rows = model_tables(slug, ODD[slug], library)
    bare = [pl.lit(None, dtype=pl.Float64).alias(name) for name in ("low", "high", "null_mean", "null_high", "null_p")]
    if slug == "one-model-all-unsure":
        rows["profiles"] = rows["profiles"].with_columns(bare)
    path = tmp_path / "atlas.html"
    path.write_bytes(build_atlas(shared_tables(library), [slug], lambda _: rows))
    atlas = watched(context, path)
    atlas.load()
    atlas.page.locator("#map").focus()
    atlas.page.keyboard.press("End")
    expect(atlas.page.locator("#layer-name")).to_have_text(named(ODD[slug].layers - 1))
    atlas.page.keyboard.press("ArrowDown")
    atlas.page.locator("#term-name").fill(library.terms["concept-0"][0])
    atlas.page.locator("#axis").select_option("depth")
    expect(atlas.page.locator("#verdict")).not_to_be_empty()
    text = atlas.page.locator("body").inner_text()
    assert not re.search(r"\b(NaN|undefined|null p|Infinity|\[object)", text)
    if slug == "no-pictures-no-lesions":
        assert "No pictures of this concept" in text
    if slug == "one-model-all-unsure":
        assert "not localised" in text
    if slug == "no-saliency-no-neighbours":
        assert "Not measured" in text
    assert atlas.said == []
    atlas.page.close()


def test_an_axis_of_eighty_layers_names_the_last(context: BrowserContext, tmp_path: Path) -> None:
    library = named_terms(2, 4)
    rows = model_tables("deep", Made(80, prompts=4, answered=1), library)
    path = tmp_path / "atlas.html"
    path.write_bytes(build_atlas(shared_tables(library), ["deep"], lambda _: rows))
    atlas = watched(context, path)
    atlas.load()
    for panel in ("map", "profile-activations"):
        _, content = atlas.download(panel, "SVG")
        assert ">79</text>" in content
        assert ">0</text>" in content
    assert atlas.said == []
    atlas.page.close()
