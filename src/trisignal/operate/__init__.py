"""What operators need around the metrics: objectives, alert rules, dashboards; all made from `semconv`."""
