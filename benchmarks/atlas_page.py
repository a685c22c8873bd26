"""The page of five deep models: what it weighs, and how long it takes to build, to show, and to move a layer.

Tables are made up (`atlas_tables`). Seconds in the browser are those of headless Chromium with its processor slowed
down, without a network. The last line is JSON.

    python -m benchmarks.atlas_page [--models 5] [--layers 80] [--concepts 8] [--terms 300] [--steps 60] [--slow 4]
"""

import argparse
import gzip
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.atlas_tables import Library, Made, model_tables, named_terms, shared_tables

GOALS = {"megabytes": 6.0, "first_paint_ms": 1500.0, "step_median_ms": 50.0}

_STEPS = """
async ([steps, pause]) => {
  const slider = document.getElementById("layer");
  const frame = () => new Promise((done) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = done;
    port2.postMessage(null);
  }));
  const found = [];
  const range = Number(slider.max);
  for (let step = 0; step < steps; step += 1) {
    await frame();
    await new Promise((done) => setTimeout(done, pause));
    const before = performance.now();
    slider.value = String((Number(slider.value) + 1) % range);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await frame();
    found.push(performance.now() - before);
  }
  return found;
}
"""


def main() -> None:
    """Build, weigh, open and move."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"models": 5, "layers": 80, "concepts": 8, "terms": 300, "steps": 60, "slow": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="Keep the page there.")
    asked = parser.parse_args()
    page, found = built(named_terms(asked.concepts, asked.terms), Made(asked.layers), asked.models)
    with tempfile.TemporaryDirectory() as folder:
        path = asked.out or Path(folder) / "atlas.html"
        path.write_bytes(page)
        found |= weighed(page)
        found |= shown(path, asked.steps, asked.slow)
    for name, value in found.items():
        goal = GOALS.get(name)
        print(f"{name:24} {value:10.3f}" + (f"   goal: {goal:g} at most" if goal else ""))
    print(json.dumps(found))


def built(library: Library, made: Made, models: int) -> tuple[bytes, dict[str, float]]:
    """The page, and the seconds that it takes to build from tables that are there."""
    from analyses.atlas.building import build_atlas

    slugs = [f"model-{number}" for number in range(models)]
    tables = {slug: model_tables(slug, made, library) for slug in slugs}
    shared = shared_tables(library)
    wall, processor = time.perf_counter(), time.process_time()
    page = build_atlas(shared, slugs, tables.__getitem__)
    return page, {
        "build_seconds": time.perf_counter() - wall,
        "build_processor_seconds": time.process_time() - processor,
    }


def weighed(page: bytes) -> dict[str, float]:
    """Megabytes of the page and of its parts; of a model's block, what its arrays take when packed alone."""
    from analyses.atlas.packing import unpack

    text = page.decode()
    found = {"megabytes": len(page) / 1e6}
    blocks = dict(re.findall(r'<script type="text/plain" id="([^"]+)">([^<]*)</script>', text))
    found["library_mb"] = len(blocks["library"]) / 1e6
    models = {name: block for name, block in blocks.items() if name.startswith("model-")}
    found["models_mb"] = sum(map(len, models.values())) / 1e6
    code = [blocks["bundle"], *re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)]
    found["code_mb"] = sum(map(len, code)) / 1e6
    found["rest_mb"] = found["megabytes"] - found["library_mb"] - found["models_mb"] - found["code_mb"]
    header, content = unpack(next(iter(models.values())))
    parts = {"profiles": header["profiles"]} | {
        name: [concept[name] for concept in header["concepts"].values()]
        for name in ("pictures", "neighbours", "effects", "restored", "answers")
    }
    for name, part in parts.items():
        arrays = b"".join(content[one["at"] : one["at"] + one["n"] * one["bytes"]] for one in references(part))
        found[f"of_a_model_{name}_mb"] = _packed(arrays) + _packed(json.dumps(part, separators=(",", ":")).encode())
    maps = {name: header[name] for name in ("maps", "findings", "card")}
    found["of_a_model_maps_mb"] = _packed(json.dumps(maps, separators=(",", ":")).encode())
    return found


def references(part: Any) -> list[dict[str, Any]]:
    """All references to arrays in a part of a header."""
    if isinstance(part, dict):
        own = [part] if {"at", "n", "bytes"} <= part.keys() else []
        return own + [one for value in part.values() for one in references(value)]
    return [one for value in part for one in references(value)] if isinstance(part, list) else []


def _packed(content: bytes) -> float:
    return len(gzip.compress(content, 9)) * 16 / 13 / 1e6


def shown(path: Path, steps: int, slow: int) -> dict[str, float]:
    """Milliseconds in a slowed-down browser: to the first paint, until all is drawn, of a slider's steps."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.set_default_timeout(300_000)
            devtools = page.context.new_cdp_session(page)
            devtools.send("Emulation.setCPUThrottlingRate", {"rate": slow})
            devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
            began = time.perf_counter()
            page.goto(path.as_uri(), wait_until="commit")
            page.wait_for_selector("html[data-ready='1']", state="attached")
            ready = (time.perf_counter() - began) * 1000
            paint = page.evaluate(
                "performance.getEntriesByType('paint').find(({ name }) => name === 'first-contentful-paint')?.startTime"
            )
            before = _busy(devtools)
            drag = page.evaluate(_STEPS, [steps, 0])
            busy = (_busy(devtools) - before) / steps
            rest = page.evaluate(_STEPS, [steps, 250])
        finally:
            browser.close()
    return {
        "first_paint_ms": paint,
        "ready_ms": ready,
        "step_median_ms": _quantile(drag, 0.5),
        "step_p95_ms": _quantile(drag, 0.95),
        "step_processor_ms": busy,
        "step_at_rest_median_ms": _quantile(rest, 0.5),
        "step_at_rest_p95_ms": _quantile(rest, 0.95),
    }


def _busy(devtools: Any) -> float:
    """Milliseconds that the page's thread ran, waits left out: what a busy machine does not change."""
    told = devtools.send("Performance.getMetrics")["metrics"]
    return 1000 * float(next(metric["value"] for metric in told if metric["name"] == "TaskDuration"))


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("VESALIUS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise SystemExit("There is no Chromium: install one, or name it with VESALIUS_CHROMIUM.")
    return found


if __name__ == "__main__":
    main()
