"""Measurements: always against a floor of the same run, always as ratios; never in a timed test."""
