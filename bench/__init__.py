"""What every performance figure in the documentation comes from. Each module runs alone: ``python -m bench.identity``."""
