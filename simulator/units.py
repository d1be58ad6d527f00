"""Amounts as Northbank writes them: a decimal string with exactly the decimals of its unit, an ISO 4217 currency.

Knows the currencies' decimals by a table of its own: a provider does not share ours, and a mistake in one of the two
tables has to show. Refuses to know what an amount is for.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_TWO = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP
    COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR
    JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN
    NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL
    THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
"""
_WITH_THREE = "BHD IQD JOD KWD LYD OMR TND"
_WITH_FOUR = "CLF UYW"

_UNITS_BY_DECIMALS = ((0, _WITHOUT_DECIMALS), (2, _WITH_TWO), (3, _WITH_THREE), (4, _WITH_FOUR))
DECIMALS: Mapping[str, int] = MappingProxyType(
    {str(unit): decimals for decimals, units in _UNITS_BY_DECIMALS for unit in units.split()}
)

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,14})(?:\.([0-9]{1,4}))?")  # fifteen digits: more than any bank moves at once


def minor_of(amount: str, unit: str) -> int:
    """Read an amount, in minor units; raise `ValueError` with a sentence for the caller where it is none."""
    if unit not in DECIMALS:
        raise ValueError("unit is not a currency that Northbank deals in")
    found = _AMOUNT.fullmatch(amount)
    if found is None:
        raise ValueError("amount is not a decimal number")
    whole, fraction = found.group(1), found.group(2) or ""
    if len(fraction) != DECIMALS[unit]:
        raise ValueError(f"amount must have exactly {DECIMALS[unit]} decimals in {unit}")
    return int(whole + fraction)


def amount_of(minor: int, unit: str) -> str:
    """Write minor units as an amount: `"10.50"`, `"500"`, `"1.234"`."""
    decimals = DECIMALS[unit]
    digits = str(minor).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
