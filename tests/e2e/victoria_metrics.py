"""Debian's ``victoria-metrics`` and ``vmalert`` on free loopback ports, in the place of Prometheus."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from e2e.servers import Server, free_port, get, program


class VictoriaMetrics(Server):
    """One node that scrapes one target every second, and shows at once what it has.

    Args:
        folder: Where it keeps its files.
        target: ``host:port`` whose ``/metrics`` is scraped.
    """

    def __init__(self, folder: Path, target: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        scrape = {"job_name": "app", "static_configs": [{"targets": [target]}]}
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
        (folder / "scrape.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        options = {
            "httpListenAddr": address, "storageDataPath": "data", "promscrape.config": "scrape.yml",
            "search.latencyOffset": "0s", "search.cacheTimestampOffset": "1s", "loggerLevel": "ERROR",
        }  # fmt: skip
        command = [program("victoria-metrics"), *(f"-{name}={value}" for name, value in options.items())]
        super().__init__(folder, command, lambda: get(self.url + "/health"))

    def query(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Values of an instant query, by the values of some labels."""
        arguments = urllib.parse.urlencode({"query": expression, "time": time.time()})
        found = json.loads(get(f"{self.url}/api/v1/query?{arguments}"))["data"]["result"]
        return {tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1]) for one in found}


class VmAlert(Server):
    """``vmalert`` over a `VictoriaMetrics`, which also gets what it records.

    Args:
        folder: Where it keeps its files.
        store: Asked, and written to.
        rules: Content of a rule file.
        alertmanager: ``host:port`` that is notified of alerts.
    """

    def __init__(self, folder: Path, store: VictoriaMetrics, rules: Mapping[str, Any], alertmanager: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rules.yml").write_text(yaml.safe_dump(dict(rules)))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        options = {
            "rule": "rules.yml", "datasource.url": store.url, "remoteWrite.url": store.url,
            "notifier.url": f"http://{alertmanager}", "httpListenAddr": address, "evaluationInterval": "1s",
            "datasource.queryStep": "1s", "remoteWrite.flushInterval": "500ms", "loggerLevel": "WARN",
        }  # fmt: skip
        command = [program("vmalert"), *(f"-{name}={value}" for name, value in options.items())]
        super().__init__(folder, command, lambda: get(self.url + "/health"))

    def alerts(self) -> dict[str, set[str]]:
        """Names of the alerts that fire, each with the models that it is about."""
        found: dict[str, set[str]] = {}
        for one in json.loads(get(self.url + "/api/v1/alerts"))["data"]["alerts"]:
            if one["state"] == "firing":
                found.setdefault(one["name"], set()).add(one["labels"].get("model", ""))
        return found

    def errors(self) -> list[str]:
        """What rules could not be evaluated, and why."""
        groups = json.loads(get(self.url + "/api/v1/rules"))["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["lastError"]]
