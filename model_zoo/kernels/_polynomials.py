"""Polynomials for exponentials and logarithms in float32."""

from typing import Final

# 1 + r (c0 + c1 r + ...) is 2^r within 2e-7 of itself for |r| <= 1/2. c interpolates (2^r - 1) / r
# at Chebyshev's nodes: the error vanishes with r, so that it does not add up over slow decays, and
# one more term makes no scan more accurate.
EXP2_COEFFICIENTS: Final = (
    0.6931471824645996,
    0.2402234971523285,
    0.055503811687231064,
    0.00966636836528778,
    0.0013381302123889327,
)
# e (c0 + c1 e + ...) is log(1 + e) within 2e-8 of itself for 0 <= e <= 1, found likewise.
LOG1P_COEFFICIENTS: Final = (
    1.0,
    -0.49999892711639404,
    0.33329710364341736,
    -0.24951615929603577,
    0.1966327428817749,
    -0.1526966691017151,
    0.10543623566627502,
    -0.056373611092567444,
    0.019542526453733444,
    -0.0031760570127516985,
)
