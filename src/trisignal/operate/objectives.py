"""What the service promises and when people are to be notified: one validated file.

Loaded from YAML or JSON by `load`; the defaults stand for everything that is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trisignal import semconv as names
from trisignal.config import TAKEN_LABELS
from trisignal.errors import ConfigError, MissingExtraError
from trisignal.operate.alert_settings import AlertSetting, label_problem

CHAT_OPERATIONS = (names.CHAT,)
GENERATION_OPERATIONS = (names.GENERATE_CONTENT, names.TEXT_COMPLETION)

_MODEL = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class ShareObjective(BaseModel):
    """A share of good events that is promised."""

    model_config = _MODEL

    target: float = Field(gt=0, lt=1, description="Promised share of good requests, e.g. 0.999.")
    minimum_bad: float | None = Field(
        default=None, ge=0, description="Bad events that an alert needs in both windows; null: minimum_bad_events."
    )


Cause = Literal["invalid_request", "content_filter", "context_length", "auth", "rate_limit"]


class Availability(ShareObjective):
    """A share of requests that do not fail."""

    leave_out: tuple[Cause, ...] = Field(
        default=(), description="Failures that callers cause: such requests count as neither good nor bad."
    )


class Latency(ShareObjective):
    """A share of successful requests under a bucket bound."""

    seconds: float = Field(gt=0, description="A good request ends within this; a bucket bound of the histogram.")


class CostObjective(ShareObjective):
    """A share of requests that cost no more than a bucket bound."""

    usd: float = Field(gt=0, description="A good request costs no more; a bucket bound of the histogram.")


class ScoreObjective(ShareObjective):
    """A share of evaluations with a good score."""

    score: float = Field(gt=0, lt=1, description="Scores above (hallucination: up to) this are good; a bucket bound.")
    evaluation: str = Field(default="", description="Name of the evaluation; empty: those under evaluations.")


class Evaluation(BaseModel):
    """An evaluation that is to alert."""

    model_config = _MODEL

    higher_is_better: bool | None = Field(
        default=None, description="false: a high score is bad, e.g. of toxicity; null: as each score was recorded."
    )
    limit: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Worse scores are bad, and so is a worse average; a bucket bound. "
        "null: objectives.quality.score, or 1 minus it where a high score is bad.",
    )
    target: float | None = Field(default=None, gt=0, lt=1, description="null: objectives.quality.target.")


class Objectives(BaseModel):
    """The service level objectives; null leaves one out."""

    model_config = _MODEL

    availability: Availability | None = Availability(target=0.999)
    chat_latency: Latency | None = Latency(target=0.95, seconds=5.0)
    generation_latency: Latency | None = Latency(target=0.95, seconds=30.0)
    first_token: Latency | None = Latency(target=0.95, seconds=2.56)
    request_cost: CostObjective | None = CostObjective(target=0.95, usd=0.05)
    quality: ScoreObjective | None = ScoreObjective(target=0.9, score=0.8)
    hallucination: ScoreObjective | None = ScoreObjective(target=0.95, score=0.5, evaluation="hallucination")
    rate_limit: ShareObjective | None = ShareObjective(target=0.999)


class Thresholds(BaseModel):
    """When a symptom is worth an alert."""

    model_config = _MODEL

    error_ratio: float = Field(default=0.05, gt=0, lt=1)
    latency_p95_seconds: float = Field(default=10.0, gt=0)
    latency_p99_seconds: float = Field(default=30.0, gt=0)
    first_token_p95_seconds: float = Field(default=5.0, gt=0)
    cost_anomaly_factor: float = Field(default=2.0, gt=1, description="Times the average of the same hour of 7 days.")
    cost_anomaly_floor_usd_per_hour: float = Field(default=1.0, ge=0, description="Cheaper hours are not an anomaly.")
    cost_per_call_factor: float = Field(default=2.0, gt=1, description="Times the average of the last 7 days.")
    tokens_per_call_factor: float = Field(default=2.0, gt=1, description="Times the average of the last 7 days.")
    new_model_usd_per_hour: float = Field(default=1.0, ge=0, description="A new model may cost as much unnoticed.")
    bill_drift_ratio: float = Field(
        default=0.1, gt=0, description="How far reported costs may be from those of the price table."
    )
    budget_usd_per_day: float | None = Field(default=None, gt=0, description="Per service; null: no alert.")
    rate_limited_ratio: float = Field(default=0.01, gt=0, lt=1)
    headroom_ratio: float = Field(default=0.1, gt=0, lt=1, description="Remaining part of a reported rate limit.")
    retries_per_request: float = Field(default=0.2, gt=0)
    queue_depth: float = Field(default=100.0, gt=0)
    queue_wait_p95_seconds: float = Field(default=5.0, gt=0)
    queue_stuck_items: float = Field(default=1.0, gt=0, description="Waiting while nothing is taken.")
    cache_hit_ratio: float | None = Field(default=None, gt=0, lt=1, description="null: no alert.")
    cache_fall_ratio: float = Field(default=0.5, gt=0, lt=1, description="Part of yesterday's hits that is a fall.")
    quality_score: float = Field(default=0.8, gt=0, lt=1, description="Of evaluations without a limit of their own.")
    drift_ratio: float = Field(default=0.9, gt=0, lt=1, description="Part of last week's average that is a drop.")
    cohort_gap: float = Field(default=0.05, gt=0, lt=1, description="How far a cohort may be below all together.")
    cohort_score_gap: float = Field(
        default=0.1, gt=0, lt=1, description="How much worse a cohort's average score may be than that of all cohorts."
    )
    wasted_cost_ratio: float = Field(default=0.2, gt=0, lt=1)
    usage_missing_ratio: float = Field(default=0.05, gt=0, lt=1)
    retrieval_empty_ratio: float = Field(default=0.3, gt=0, lt=1)
    retrieval_score_ratio: float = Field(default=0.8, gt=0, lt=1)
    price_table_days: float = Field(default=60.0, gt=0)


class RulesPlan(BaseModel):
    """Everything that rules and dashboards are made from."""

    model_config = _MODEL

    metric_profile: Literal["1.41", "2026-10"] = "1.41"
    metric_prefix: str = Field(default="", pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*)?$")
    dimensions: tuple[str, ...] = Field(default=(), description="Metric dimensions to keep in the recorded series.")
    slo_thresholds: tuple[float, ...] = Field(default=(), description="As given to setup(): further bucket bounds.")
    source_labels: tuple[str, ...] = Field(
        default=("job", "namespace", "cluster"),
        description="Labels of a service, which every rule keeps; those that your series lack cost nothing.",
    )
    evaluation_interval: str = Field(
        default="15s", pattern=r"^\d+[sm]$", description="How often the rules behind pages are evaluated."
    )
    quantiles: tuple[float, ...] = Field(
        default=(), description="Recorded of all latencies, beside those that alerts read, e.g. [0.5, 0.99]."
    )
    minimum_bad_events: float = Field(
        default=3.0, ge=0, description="Alerts on shares need at least this many bad events in each of their windows."
    )
    minimum_requests: float = Field(
        default=10.0, ge=0, description="Burn-rate alerts need at least this many requests in their long window."
    )
    runbook_base_url: str = Field(
        default="https://trisignal.readthedocs.io/en/latest/runbooks.html", description="Page with a part per alert."
    )
    dashboard_base_url: str = Field(
        default="", description="Where Grafana is, e.g. https://grafana.example; empty: links begin with /d/."
    )
    labels: dict[str, str] = Field(default={}, description="Added to every alert.")
    evaluations: dict[str, Evaluation] = Field(default={}, description="The evaluations that alert, by name.")
    alerts: dict[str, AlertSetting] = Field(default={}, description="What differs for single alerts, by name.")
    objectives: Objectives = Objectives()
    thresholds: Thresholds = Thresholds()

    @field_validator("dimensions")
    @classmethod
    def _free(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name.isidentifier() or name in TAKEN_LABELS or name in ("model", "provider", "slo"):
                raise ValueError(f"{name!r} cannot be a dimension: a name of letters, digits and _ that is free")
        return value

    @field_validator("source_labels")
    @classmethod
    def _service(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name.isidentifier() or name in ("model", "provider", "slo", "instance"):
                raise ValueError(f"{name!r} cannot name a service: a label such as job, namespace, cluster")
        return value

    @field_validator("labels")
    @classmethod
    def _usable(cls, value: dict[str, str]) -> dict[str, str]:
        for problem in filter(None, map(label_problem, value)):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _on_bounds(self) -> RulesPlan:
        objectives = self.objectives
        seconds = tuple(sorted({*names.LONG_SECONDS, *self.slo_thresholds}))
        for name in ("chat_latency", "generation_latency", "first_token"):
            latency = getattr(objectives, name)
            if latency is not None and latency.seconds not in seconds:
                raise ValueError(f"objectives.{name}.seconds={latency.seconds:g} is not a bucket bound; there are "
                                 + ", ".join(f"{bound:g}" for bound in seconds))  # fmt: skip
        cost = objectives.request_cost
        if cost is not None and cost.usd not in names.USD:
            raise ValueError(f"objectives.request_cost.usd={cost.usd:g} is not a bucket bound; there are "
                             + ", ".join(f"{bound:g}" for bound in names.USD))  # fmt: skip
        for name in ("quality", "hallucination"):
            score = getattr(objectives, name)
            if score is not None and score.score not in names.SCORES:
                raise ValueError(f"objectives.{name}.score={score.score:g} is not a bucket bound; there are "
                                 + ", ".join(f"{bound:g}" for bound in names.SCORES))  # fmt: skip
        for name, evaluation in self.evaluations.items():
            for higher in directions(evaluation):
                limit = self.limit_of(evaluation, higher)
                if limit not in names.SCORES:
                    raise ValueError(f"evaluations.{name}.limit={limit:g} is not a bucket bound; there are "
                                     + ", ".join(f"{bound:g}" for bound in names.SCORES))  # fmt: skip
        return self

    def limit_of(self, evaluation: Evaluation, higher_is_better: bool) -> float:
        """The score that separates good from bad, of an evaluation that alerts."""
        if evaluation.limit is not None:
            return evaluation.limit
        quality = self.objectives.quality
        limit = quality.score if quality is not None else self.thresholds.quality_score
        return limit if higher_is_better else round(1 - limit, 6)

    def minimum_of(self, share: ShareObjective | None = None) -> float:
        """Bad events that an alert needs."""
        own = share.minimum_bad if share is not None else None
        return self.minimum_bad_events if own is None else own


def directions(evaluation: Evaluation) -> tuple[bool, ...]:
    """Whether high scores are good: what the plan says, or both where each score says it itself."""
    return (True, False) if evaluation.higher_is_better is None else (evaluation.higher_is_better,)


def load(path: str) -> RulesPlan:
    """Load a plan.

    Args:
        path: A YAML or JSON file; "" for the defaults.

    Raises:
        ConfigError: The file cannot be read, or a value is wrong.
        MissingExtraError: YAML needs a package that is not installed.
    """
    if not path:
        return RulesPlan()
    try:
        content = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("config", path, f"a file that can be read ({error.strerror})") from None
    return of(_parsed(path, content), path)


def _parsed(path: str, content: str) -> Any:
    if path.endswith(".json"):
        try:
            return json.loads(content)
        except ValueError as error:
            raise ConfigError("config", path, f"JSON ({error})") from None
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("a YAML file", "yaml") from None
    try:
        return yaml.safe_load(content) or {}
    except yaml.YAMLError as error:
        raise ConfigError("config", path, f"YAML ({' '.join(str(error).split())})") from None


def of(values: Any, origin: str = "config") -> RulesPlan:
    """A plan of given values.

    Args:
        values: Mapping as in the file.
        origin: Named in errors.

    Raises:
        ConfigError: A value is wrong.
    """
    try:
        return RulesPlan.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise ConfigError(where, first["input"] if first["loc"] else origin, first["msg"]) from None
