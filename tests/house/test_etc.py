"""The files for Grafana and Prometheus: valid, about metrics that exist, and explained in the docs."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gproxy.observe.metric_families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "etc/prometheus/alerts.yml"
DASHBOARD = json.loads((ROOT / "etc/grafana/gproxy.json").read_text())
#: Names on the page of a histogram, beside that of the family.
ENDS = ("_bucket", "_count", "_sum")
FILES = [RULES, ROOT / "etc/prometheus/alerts_test.yml", ROOT / "etc/grafana/gproxy.json", ROOT / "docs/alerts.md"]


def alerts():
    return re.findall(r"- alert: (\w+)", RULES.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_name_metrics_that_exist(path):
    histograms = {name + end for name, family in FAMILIES.items() if family.kind == "histogram" for end in ENDS}
    found = set(re.findall(r"\bgproxy_[a-z_]+\b", path.read_text()))
    assert found
    assert found <= FAMILIES.keys() | histograms


def test_the_dashboard_has_known_panels_and_its_variables():
    panels = DASHBOARD["panels"]
    assert {panel["type"] for panel in panels} == {"row", "stat", "timeseries"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance"]
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert titles == ["Overview", "Routes", "Upstreams and backends", "Handlers, jobs and tables", "Process"]
    for panel in panels:
        for target in panel.get("targets", ()):
            assert 'job=~"$job",instance=~"$instance"' in target["expr"], panel["title"]


def test_no_two_panels_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_alert_has_a_section_with_what_to_do():
    page = (ROOT / "docs/alerts.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.M) == alerts()
    links = re.findall(r"runbook_url: \S+/docs/alerts\.html#(\w+)", RULES.read_text())
    assert links == [name.lower() for name in alerts()]
    for name in alerts():
        section = page.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
        assert len(section.split()) > 10, name


def test_each_alert_is_tested_with_and_without_its_cause():
    tested = re.findall(
        r"alertname: (\w+)\n +exp_alerts: ?(\[\])?", (ROOT / "etc/prometheus/alerts_test.yml").read_text()
    )
    assert sorted(tested) == sorted((name, end) for name in alerts() for end in ("", "[]"))


@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_accepts_the_rules(arguments):
    assert shutil.which("promtool"), "promtool is not installed; scripts/install test installs it"
    done = subprocess.run(["promtool", *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
