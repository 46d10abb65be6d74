"""The sweep engine: what may be tried, what is traced, and how a population is trained."""
