"""What ended calls to a model add to the row of their label set."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from trisignal import semconv as names
from trisignal.call import Call, ChunkTimes
from trisignal.sinks._measures import TOKENED, bounds, modalities, served, spending
from trisignal.sinks._ordinary import Columns, Exemplified, OrdinaryCalls, exemplar_of, is_ordinary
from trisignal.sinks._rows import LabelSet, StreamedCalls
from trisignal.sinks._series import Accumulator


class Additions:
    """Adds calls to rows, under the metrics of one profile.

    Args:
        table: Metrics by key.
        slo_thresholds: Further bounds of latency histograms, in seconds.
    """

    __slots__ = ("_input", "_output", "_split_by_modality", "bounds")

    def __init__(self, table: Mapping[str, names.Metric], slo_thresholds: Sequence[float]) -> None:
        self.bounds = {k: bounds(metric, slo_thresholds) for k, metric in table.items() if metric.bounds}
        """Bucket bounds by metric key."""
        self._split_by_modality = "tokens" not in table
        self._input = "input_tokens" if self._split_by_modality else "tokens:input"
        self._output = "output_tokens" if self._split_by_modality else "tokens:output"

    def add_all(self, row: LabelSet, calls: list[Call], exemplars: bool) -> None:
        """Add calls, or the late tokens of some that were counted before (``batch`` is ``spent``).

        Args:
            row: Row of the calls' label set.
            calls: They are taken out of it as they are added, the last one first where they are added one by one.
            exemplars: Sampled calls become exemplars.
        """
        if row.labels.outcome == "ok" and not row.is_served and not self._split_by_modality:
            try:
                self._add_together(row, calls, exemplars)
            except ValueError:
                together = [call for call in calls if is_ordinary(call)]
                calls[:] = [call for call in calls if not is_ordinary(call)]
                if together:
                    self._add_together(row, together, exemplars)
        while calls:
            call = calls.pop()
            self._add(row, call, call.batch != "spent", exemplar_of(call) if exemplars and call.sampled else None)

    def _add_together(self, row: LabelSet, calls: list[Call], exemplars: bool) -> None:
        """Add calls that are all ordinary: they count as what `_add_spending` and `_measures.spending` say."""
        columns = Columns(calls)
        held = row.ordinary
        if held is None:
            held = row.ordinary = OrdinaryCalls(
                *[self._series(row, key) for key in (row.duration, self._input, self._output, "request_cost")]
            )
        streams = [call for call in calls if call.chunk_times is not None] if any(columns.times) else []
        sampled = [call for call in calls if call.sampled] if exemplars else ()
        calls.clear()
        row.calls += len(columns.sent)
        held.add(columns)
        for bucket, amount in columns.parts.items():
            row.cost[bucket] = row.cost.get(bucket, 0.0) + amount
        for call in streams:
            self._add_stream(row, call, exemplar_of(call) if exemplars and call.sampled else None)
        if sampled:
            held.mark(sampled)

    def _add(self, row: LabelSet, call: Call, ended: bool, exemplar: Exemplified | None) -> None:
        """Add one call of any kind."""
        observed: list[tuple[str, float, bool]] = []
        if ended:
            if not call.batch:
                observed.append((row.duration, call.duration_s, True))
            if call.counted:
                row.calls += 1
                if call.error_kind is not None:
                    row.count("errors", (call.error_kind, call.error_type))
                for kind in call.retries:
                    row.count("retries", (kind,))
                if (lost_s := call.closing.get(names.RETRIES_LOST_S)) is not None:
                    self._series(row, "retry_lost").add(float(lost_s))  # type: ignore[arg-type]  # it is a number
                if call.usage is None and call.outcome == "ok" and not call.pending and call.operation in TOKENED:
                    row.count("usage_missing", ())
            if call.role == "server":
                for key, value in served(call):
                    self._series(row, key).add(value)
        elif call.usage is None and call.cost is None:
            row.count("usage_missing", ())
        if call.counted or not ended:
            self._add_spending(row, call, observed)
        for key, value, marked in observed:
            series = self._series(row, key)
            index = series.add(value)
            if marked and exemplar is not None:
                series.mark(index, (exemplar[0], exemplar[1], value, exemplar[2]))
        self._add_stream(row, call, exemplar)

    def _series(self, row: LabelSet, key: str) -> Accumulator:
        series = row.histograms.get(key)
        if series is None:
            series = row.histograms[key] = Accumulator(self.bounds[key.partition(":")[0]])
        return series

    def _mark(self, row: LabelSet, key: str, value: float, exemplar: Exemplified | None) -> None:
        series = self._series(row, key)
        index = series.add(value)
        if exemplar is not None:
            trace_id, span_id, at_unix_s = exemplar
            series.mark(index, (trace_id, span_id, value, at_unix_s))

    def _add_spending(self, row: LabelSet, call: Call, observed: list[tuple[str, float, bool]]) -> None:
        usage, cost = call.usage, call.cost
        if usage is not None:
            if usage.input is not None:
                observed.append((self._input, usage.input, False))
            if usage.output is not None:
                observed.append((self._output, usage.output, False))
            if self._split_by_modality:
                for key, modality, tokens in modalities(usage):
                    row.count(key, (modality,), tokens)
        counters = row.counters
        for counter, amount in spending(call):
            counters[counter] = counters.get(counter, 0.0) + amount
        if cost is not None:
            buckets = row.cost
            for bucket, amount in cost.by_bucket:
                buckets[bucket] = buckets.get(bucket, 0.0) + amount
            observed.append(("request_cost", cost.total_usd, True))

    def _add_ordinary_stream(
        self, row: LabelSet, start_ns: int, times: ChunkTimes, per_token_s: float, exemplar: Exemplified | None
    ) -> None:
        """Add the times of a stream that has all of them, as nearly all have; else it counts as `_add_stream` says."""
        held = row.streamed
        if held is None:
            held = row.streamed = StreamedCalls(*[self._series(row, key) for key in StreamedCalls.__slots__])
        first_ns, token_ns = times.first_chunk_ns, times.first_token_ns
        series, index = held.first_token, 0
        for series, value in (
            (held.first_chunk, (first_ns - start_ns) * 1e-9),
            (held.first_answer, (times.first_answer_ns - start_ns) * 1e-9),
            (held.per_token, per_token_s),
            (held.first_token, (token_ns - start_ns) * 1e-9),
        ):
            index = bisect_left(series.bounds, value)
            series.counts[index] += 1
            series.total += value
        if exemplar is not None:
            series.mark(index, (exemplar[0], exemplar[1], (token_ns - start_ns) * 1e-9, exemplar[2]))
        held.chunk_interval.absorb(times.intervals, (times.last_ns - first_ns) * 1e-9)

    def _add_stream(self, row: LabelSet, call: Call, exemplar: Exemplified | None) -> None:
        times = call.chunk_times
        if times is None or not times.first_chunk_ns:
            return
        start = call.start_ns
        output = call.usage.output if call.usage is not None else None
        per_token = None
        if times.first_token_ns and output is not None and output > 1:
            per_token = (times.last_ns - times.first_token_ns) * 1e-9 / (output - 1)
        if call.role == "server":
            if call.outcome == "ok" and times.first_token_ns:
                self._series(row, "server_first_token").add((times.first_token_ns - start) * 1e-9)
                if per_token is not None:
                    self._series(row, "server_per_token").add(per_token)
            return
        gaps = any(times.intervals)
        if gaps and per_token is not None and times.first_answer_ns and not times.first_audio_ns:
            self._add_ordinary_stream(row, call.start_ns, times, per_token, exemplar)
            return
        self._series(row, "first_chunk").add((times.first_chunk_ns - start) * 1e-9)
        if gaps:
            total = (times.last_ns - times.first_chunk_ns) * 1e-9
            self._series(row, "chunk_interval").absorb(times.intervals, total)
        if times.first_token_ns:
            self._mark(row, "first_token", (times.first_token_ns - start) * 1e-9, exemplar)
        if times.first_answer_ns:
            self._series(row, "first_answer").add((times.first_answer_ns - start) * 1e-9)
        if times.first_audio_ns:
            since = times.speech_end_ns or start
            self._mark(row, "first_audio", (times.first_audio_ns - since) * 1e-9, exemplar)
        if per_token is not None:
            self._series(row, "per_token").add(per_token)
