"""The files of the production-shaped stack agree with the code, with each other and with Prometheus' own tools."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.ops.metrics import Metrics
from streams.settings import Settings

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
#: series that Prometheus and its client library make themselves
STANDARD_SERIES = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
#: labels that scraping adds
TARGET_LABELS = {"job", "instance", "le"}
#: what Docker Compose calls the things that are used here; it refuses any other key
SERVICE_KEYS = {
    "build",
    "cap_drop",
    "command",
    "depends_on",
    "environment",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ports",
    "read_only",
    "restart",
    "security_opt",
    "stop_grace_period",
    "tmpfs",
    "volumes",
}
PROMQL_WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}

Json = dict[str, Any]


def stack() -> Json:
    loaded: Json = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return loaded


def services() -> dict[str, Json]:
    found: dict[str, Json] = stack()["services"]
    return found


def workers() -> dict[str, Json]:
    return {name: service for name, service in services().items() if name.startswith("worker-")}


def rules() -> list[Json]:
    groups = yaml.safe_load((COMPOSE / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> Json:
    loaded: Json = json.loads((COMPOSE / "grafana/dashboards/live-segments.json").read_text())
    return loaded


def queries() -> list[str]:
    """Every PromQL expression of the alerts and the dashboard."""
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    return [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels for target in panel["targets"]]


def parts(query: str) -> tuple[set[str], set[str]]:
    """The names of series and of labels in a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", query)
    labels = {label for inner in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"([a-z_]+)\s*[=!]", inner)}
    lists = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    labels |= {label.strip() for inner in re.findall(lists, bare) for label in inner.split(",") if label.strip()}
    bare = re.sub(lists, "", re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare))
    names = re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)
    return {name for name in names if name not in PROMQL_WORDS}, labels


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=COMPOSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_config_and_rules() -> None:
    run("promtool", "check", "config", "prometheus.yml")
    run("promtool", "check", "rules", "alerts.yml")


def test_alerts_fire_and_stay_silent_as_their_own_tests_say() -> None:
    run("promtool", "test", "rules", "alerts_test.yml")


def test_every_alert_is_tested_to_fire_and_to_stay_silent_and_says_what_to_do() -> None:
    tests = yaml.safe_load((COMPOSE / "alerts_test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == names
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == names
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_promql_is_taken_apart_rightly() -> None:
    query = 'max(sum by (lane, le) (rate(a_bucket{x=~"$w",y!="by_me"}[$__rate_interval]))) / on (z) b > 1'
    assert parts(query) == ({"a_bucket", "b"}, {"lane", "le", "x", "y", "z"})


@pytest.mark.parametrize("query", queries())
def test_query_uses_only_series_and_labels_that_exist(query: str) -> None:
    series = {name: set(declared.labels) for declared in Metrics().catalogue() for name in declared.series}
    names, labels = parts(query)
    assert names
    assert names <= series.keys() | STANDARD_SERIES
    assert labels <= TARGET_LABELS.union(*(series.get(name, set()) for name in names))


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set().union(*(parts(query)[0] for query in queries()))
    assert [declared.name for declared in Metrics().catalogue() if not shown.intersection(declared.series)] == []


def test_dashboard_reads_the_provisioned_data_source_and_panels_do_not_overlap() -> None:
    provisioned = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = provisioned["datasources"][0]["uid"]
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == uid
    identities = [panel["id"] for panel in dashboard()["panels"]]
    assert len(identities) == len(set(identities))


def test_dashboards_are_mounted_where_they_are_looked_for() -> None:
    provider = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/live-segments.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in services()["grafana"]["volumes"]


def test_every_setting_in_the_stack_exists_and_its_value_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f"SEGMENTS_{name.upper()}" for name in Settings.model_fields}
    for service in [*workers().values(), services()["topics"]]:
        given = {key: value for key, value in service["environment"].items() if key.startswith("SEGMENTS_")}
        assert given.keys() <= known
        for key, value in given.items():
            assert isinstance(value, str), f"{key} must be quoted"
            monkeypatch.setenv(key, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
        assert Settings().bootstrap == "kafka:9092"
    in_image = set(re.findall(r"SEGMENTS_\w+", (COMPOSE / "Dockerfile").read_text()))
    assert in_image <= known


def test_workers_differ_in_name_volume_and_port_only_and_stop_in_time() -> None:
    assert len(workers()) >= 2
    assert len({worker["environment"]["SEGMENTS_WORKER_NAME"] for worker in workers().values()}) == len(workers())
    data = {worker["environment"]["SEGMENTS_DATA_DIR"] for worker in workers().values()}
    volumes = [volume for worker in workers().values() for volume in worker["volumes"]]
    assert len({volume.split(":")[0] for volume in volumes}) == len(workers())
    assert {volume.split(":")[1] for volume in volumes} == data
    for worker in workers().values():
        assert worker["restart"] == "unless-stopped"
        assert worker["depends_on"]["topics"]["condition"] == "service_completed_successfully"
        seconds = int(worker["stop_grace_period"].removesuffix("s"))
        default = Settings.model_fields["transaction_timeout_ms"].default
        assert seconds * 1000 >= default, "a commit under way must be able to end"
    assert int(services()["topics"]["environment"]["SEGMENTS_PARTITIONS"]) >= len(workers())


def test_every_service_is_watched_restarted_and_reachable_from_this_machine_only() -> None:
    for name, service in services().items():
        assert service["restart"] == ("no" if name == "topics" else "unless-stopped")
        assert "stop_grace_period" in service
        assert "healthcheck" in service
        assert service.keys() <= SERVICE_KEYS, f"{name}: misspelt for Docker Compose"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for needed in service.get("depends_on", {}):
            assert needed in services()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in stack()["volumes"]
        image = service["image"]
        assert ":" in image
        assert not image.endswith(":latest")


def test_prometheus_scrapes_each_worker_where_it_listens() -> None:
    config = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "segments"]
    targets = {target for static in job["static_configs"] for target in static["targets"]}
    assert targets == {f"{name}:{worker['environment']['SEGMENTS_WEB_PORT']}" for name, worker in workers().items()}


def test_image_runs_as_nobody_special_with_pinned_packages_and_copies_what_exists() -> None:
    lines = (COMPOSE / "Dockerfile").read_text().splitlines()
    final = lines[max(index for index, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert [line for line in final if line.startswith("USER ")] == ["USER segments"]
    assert lines.count("FROM python:3.11-slim") + lines.count("FROM python:3.11-slim AS build") == 2
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("-c constraints.txt" in line for line in installs)
    root = COMPOSE.parent
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    allowed = {line[1:] for line in (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert set(copied) == allowed
    for name in copied:
        assert (root / name).exists(), name
