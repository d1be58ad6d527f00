"""Writes domain/currencies.py from the pinned package `iso4217`: `python -m tests.support.currencies`."""

from pathlib import Path

import iso4217

TARGET = Path(__file__).parents[2] / "domain" / "currencies.py"
HEAD = '''"""The exponents of ISO 4217's currencies that have a minor unit. Generated (`make generate`); do not edit."""

from collections.abc import Mapping
from types import MappingProxyType

EXPONENTS: Mapping[str, int] = MappingProxyType(
    {
'''


def text() -> str:
    """Lay out the module: a line per currency, in the order of the codes."""
    rows = sorted((each.code, each.exponent) for each in iso4217.Currency if each.exponent is not None)
    return HEAD + "".join(f'        "{code}": {exponent},\n' for code, exponent in rows) + "    }\n)\n"


if __name__ == "__main__":
    TARGET.write_text(text())
