"""What takes long."""

from __future__ import annotations

SLOW = {
    "analysis/test_backend_sources.py": "every question asked of every backend",
    "analysis/test_comparison.py": "planted causes of changes, all of them",
    "cli/test_demo.py": "the demo, as a process",
    "cli/test_run.py": "programs under `trisignal run`, as processes",
    "clients/test_late_imports.py": "every client imported after us, in processes of their own",
    "coexistence": "frameworks and other instrumentations beside trisignal (make coexistence)",
    "console/test_browser.py": "the console in a real browser",
    "console/test_rest.py": "the REST interface, fuzzed from its own description",
    "contract/test_faults.py": "every client under every fault",
    "contributing": "made-up vendors under the whole contract",
    "corpus": "recorded traffic of providers",
    "e2e": "real servers (make e2e)",
    "export/test_global_provider.py": "hosts with tracer providers of their own, as processes",
    "operate/test_alert_settings.py": "settings of single alerts, judged by promtool",
    "operate/test_dashboards.py": "dashboards, asked of a real Prometheus",
    "operate/test_deploy.py": "the chart, with Helm",
    "operate/test_planted.py": "planted faults in virtual time, judged by promtool",
    "operate/test_report.py": "reports of a fortnight, asked of a real Prometheus",
    "operate/test_rules.py": "alert rules, judged by promtool",
    "operate/test_runbooks.py": "queries of the runbooks, judged by promtool",
    "operate/test_silence.py": "what only looks like a fault, judged by promtool",
    "sinks/test_multiprocess.py": "workers that share one page, as processes",
    "test_docs.py": "the blocks of the documentation",
    "test_docs_operations.py": "the operators' pages",
    "test_examples.py": "the examples",
    "test_instructions.py": "calls under Callgrind",
    "test_typing.py": "three type checkers",
}
"""Files and folders that ``--fast`` leaves out, beside single tests with the marker ``slow``."""
LEFT_OUT = ("slow", "nightly", "e2e")
"""Markers of single tests that it leaves out."""
