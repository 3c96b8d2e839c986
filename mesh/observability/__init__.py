"""What an operator watches: Prometheus rules, and a Grafana dashboard made here and kept as ``dashboard.json``."""
