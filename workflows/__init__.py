"""The lifecycles as sagas: deterministic, meeting the world only through contracts."""
