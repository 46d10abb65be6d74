"""What a trial is: a hash of its values, choices, parts and data, whose meaning never changes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

FORMAT = 1


def trial_id(hparams: Mapping[str, Any], choices: Mapping[str, str], parts: Mapping[str, Any]) -> str:
    """Returns the id of a trial: 12 hexadecimal digits.

    Args:
        hparams: Numbers by name; only their float32 values count.
        choices: The identity of each choice's option.
        parts: Everything else that decides what is trained: the other parts, the data's fingerprint, the batches.

    Returns:
        The first 12 hexadecimal digits of a SHA-256.

    Examples:
        >>> trial_id({"l2": 0.1}, {}, {}) == trial_id({"l2": np.float32(0.1)}, {}, {})
        True
        >>> trial_id({"l2": 1}, {}, {})
        '05dd2bf4528a'
    """
    meaning = {
        "format": FORMAT,
        "hparams": {name: (np.float32(value) + np.float32(0)).tobytes().hex() for name, value in hparams.items()},
        "choices": dict(choices),
        "parts": dict(parts),
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:12]


def program_hash(function: Any, *args: Any) -> str:
    """Returns a hash of what a function computes: its jaxpr and the arrays that it closes over.

    Args:
        function: A function of arrays.
        *args: Arrays or `jax.ShapeDtypeStruct`s.

    Returns:
        12 hexadecimal digits. It may change with JAX's version.

    Examples:
        >>> scale = jax.numpy.arange(3.0)
        >>> program_hash(lambda x: x * scale, scale) == program_hash(lambda y: y * scale, scale)
        True
        >>> program_hash(lambda x: x * scale, scale) == program_hash(lambda x: x * (scale + 1), scale)
        False
    """
    closed = jax.make_jaxpr(function)(*args)
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
    for const in _constants(closed):
        value = jax.random.key_data(const) if jax.numpy.issubdtype(const.dtype, jax.dtypes.prng_key) else const
        digest.update(np.asarray(value).tobytes())
    return digest.hexdigest()[:12]


def _constants(program: Any) -> Iterator[Any]:
    """The arrays that a jaxpr and the jaxprs inside it close over; its text names them but does not show them."""
    yield from getattr(program, "consts", ())
    for equation in getattr(program, "jaxpr", program).eqns:
        for inner in jax.tree.leaves(list(equation.params.values())):
            if isinstance(inner, ClosedJaxpr | Jaxpr):
                yield from _constants(inner)
