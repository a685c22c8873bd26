"""The documentation holds: its site builds without a broken link, asks no other machine; its lists are the code's."""

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browsing import browser, chromium
from playwright.sync_api import expect

from analyses import collapse, metric_words, rivals, series
from analyses.claims_page import claims_page
from analyses.contrasts import CONTRASTS_FILE
from analyses.findings import CLAIMS
from analyses.lesion_profiles import _EFFECTS
from analyses.saliency_profiles import _METRICS
from analyses.validity import VALIDATION_FILE
from extract.interventions import LESION_KINDS, PATCH_SITES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ZENSICAL = Path(sys.executable).with_name("zensical")


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """The site of a folder that has `docs` and the configuration."""
    words = [ZENSICAL, "build", "--strict", "--clean"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def copied(folder: Path) -> Path:
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(tmp_path_factory.mktemp("site"))
    done = built(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "site"


class Links(HTMLParser):
    """What a page points to, and what can be pointed to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.to: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src") and tag in ("a", "img", "script", "link"):
                self.to.append((tag, value))
            if value and name == "id":
                self.names.add(value)


def test_every_link_and_picture_of_the_site_is_there(site: Path) -> None:
    pages = {page.name: Links(page) for page in site.glob("*.html")}
    assert {"index.html", "tutorial.html", "findings.html", "validity.html"} <= set(pages)
    missing = []
    for page, links in pages.items():
        for tag, link in links.to:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert tag == "a", f"{page} loads {link} from another machine"
                continue
            target = unquote(parts.path).removeprefix("./").removeprefix("/") or page
            names = pages[target].names if target in pages else {parts.fragment}
            if not (site / target).exists() or (parts.fragment and parts.fragment not in names):
                missing.append(f"{page}: {link}")
    assert missing == []


def test_every_page_has_its_place_in_the_navigation(site: Path) -> None:
    listed = {link.removeprefix("./") for _, link in Links(site / "index.html").to}
    assert {page.with_suffix(".html").name for page in DOCS.glob("*.md")} <= listed | {"index.html"}


@pytest.mark.parametrize("link", ["nowhere.md", "tables.md#no-such-heading"])
def test_a_broken_link_fails_the_build(link: str, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    with (folder / "docs" / "limits.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[gone]({link})\n")
    assert built(folder).returncode != 0


def test_a_page_that_is_added_or_not_there_yet_breaks_nothing(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for name in ("atlas", "cli", "sharing", "scale"):
        (folder / "docs" / f"{name}.md").unlink(missing_ok=True)
    pages = list((folder / "docs").glob("*.md"))
    gone = re.compile(r"\[([^\]]*)\]\((?:atlas|cli|sharing|scale)\.md[^)]*\)")
    for page in pages:
        page.write_text(gone.sub(r"\1", page.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "docs" / "something-new.md").write_text("# Something new\n", encoding="utf-8")
    done = built(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "something-new.html" in (folder / "build" / "site" / "index.html").read_text(encoding="utf-8")


@pytest.mark.skipif(chromium() is None, reason="needs chromium: apt-get install chromium")
def test_the_site_opens_from_disk_and_its_search_finds_without_a_network(site: Path) -> None:
    asked: list[str] = []
    said: list[str] = []
    with browser(1280, 800) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((site / "index.html").as_uri())
        page.get_by_role("button", name="Search").first.click()
        page.get_by_placeholder("Search").first.fill("anisotropy")
        expect(
            page.locator("a[href*='techniques.html']:visible", has_text=re.compile("anisotropy", re.I)).first
        ).to_be_visible()
    assert [url for url in asked if not url.startswith("file:")] == []
    assert said == []


def test_the_page_of_findings_is_what_the_claims_say() -> None:
    expected = "\n".join(claims_page()) + "\n"
    assert (DOCS / "findings.md").read_text(encoding="utf-8") == expected, "run `vesalius docs`"


def test_the_page_of_findings_has_every_claim_with_its_rule() -> None:
    text = "\n".join(claims_page())
    for claim in CLAIMS:
        (row,) = [line for line in text.splitlines() if f"| `{claim.name}` |" in line]
        for said in (claim.title, claim.claimed_by, claim.question, f"{claim.threshold:g}", claim.rule):
            assert said in row


def documented() -> tuple[set[str], set[str]]:
    """The names of metrics, and their endings, that `docs/techniques.md` lists."""
    text = (DOCS / "techniques.md").read_text(encoding="utf-8").split("## Metrics by name")[1]
    bases, endings = text.split("| ending | means |")
    names = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
    return set(names.findall(bases)), set(names.findall(endings))


def is_documented(metric: str) -> bool:
    """Whether a name is a listed base with listed endings; a part of a lesion stands behind its kind."""
    bases, endings = documented()
    plain = re.sub(r"^(identity|mean|resample)_(attention|mlp)_", r"\1_", metric)
    while plain not in bases:
        ending = next((each for each in sorted(endings, key=len, reverse=True) if plain.endswith(each)), None)
        if ending is None:
            return False
        plain = plain.removesuffix(ending)
    return True


def metrics_of_the_code() -> Iterator[str]:
    """The names that profiles are given, as far as the code lists them, and those of all validated runs."""
    yield from (f"{kind}_{effect}" for kind in LESION_KINDS for effect in _EFFECTS)
    yield from (f"{site}_restored" for site in PATCH_SITES)
    yield from _METRICS
    yield from (collapse.EFFECTIVE_RANK, collapse.MEAN_COSINE, collapse.NORM)
    for file in (VALIDATION_FILE, CONTRASTS_FILE):
        with Path(file).open(encoding="utf-8", newline="") as lines:
            own = {"confidence", "share of techniques"}  # What a map is judged by, no profile.
            yield from {row["metric"] for row in csv.DictReader(lines)} - own


def test_every_metric_of_the_code_is_defined_in_the_docs() -> None:
    unknown = {metric for metric in metrics_of_the_code() if not is_documented(metric)}
    assert unknown == set()
    assert not is_documented("resample_log_probability_rise")


def test_every_metric_of_the_docs_is_one_of_the_code() -> None:
    bases, endings = documented()
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "analyses").rglob("*.py"))
    literals = set(re.findall(r'"(\w+)"', source)) | set(re.findall(r'f?"(?:\{[^}]*\})?(_\w+)"', source))
    listed = set(metrics_of_the_code()) | literals
    known = listed | {f"stage_{name}" for name in literals}
    assert {base for base in bases if base not in known} == set()
    over = {f"_over_{name}" for name in rivals.FLAT if name in literals}
    assert endings - literals - over - {series.OVER_CONTROLS, series.STEP} == set()


def test_the_sentence_and_the_unit_of_a_metric_are_said_once_and_the_docs_have_them() -> None:
    text = (DOCS / "techniques.md").read_text(encoding="utf-8").split("## Metrics by name")[1]
    bases, endings = documented()
    assert (bases, endings) == (set(metric_words.BASES), set(metric_words.ENDINGS))
    for name, (unit, sentence) in metric_words.BASES.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {unit} | {sentence} |" in row
    assert all(metric_words.meaning(metric) and metric_words.unit_of(metric) for metric in metrics_of_the_code())
    assert metric_words.unit_of("logit_difference_first_order_effect_over_controls") == "share of the peak"
    assert metric_words.unit_of("mean_attention_accuracy_drop_over_controls") == "share of the right answers"
    assert metric_words.unit_of("silhouette_cosine_over_controls_step") == "silhouette"
    assert metric_words.meaning("nothing_of_ours") == metric_words.unit_of("nothing_of_ours") == ""


def test_every_metric_has_a_place_where_it_is_defined() -> None:
    """In the text above the list or in `geometry.md`, not only in the list."""
    above = (DOCS / "techniques.md").read_text(encoding="utf-8").split("## Metrics by name")[0]
    text = above + (DOCS / "geometry.md").read_text(encoding="utf-8")
    for base in documented()[0]:
        kind = re.sub(r"^(identity|mean|resample)(?=_(log_probability_drop|accuracy_drop|kl)$)", "<kind>", base)
        site = re.sub(r"^(resid|delta|attn_out|mlp_out)(?=_restored$)", "<site>", base)
        stage = base.removeprefix("stage_")
        assert any(f"`{name}" in text for name in (base, kind, site, stage)), base
