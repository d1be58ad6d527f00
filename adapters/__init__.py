"""The only place that knows a provider's words, and the only user of HTTP towards providers. Knows no Temporal."""
