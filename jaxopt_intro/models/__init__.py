"""Models as pairs of pure functions, and adapters for any Flax module."""

from jaxopt_intro.models import layers
from jaxopt_intro.models.convnet import convnet
from jaxopt_intro.models.from_constructor import from_constructor
from jaxopt_intro.models.from_linen import from_linen
from jaxopt_intro.models.from_nnx import from_nnx
from jaxopt_intro.models.linear import linear
from jaxopt_intro.models.mlp import mlp
from jaxopt_intro.models.residual_mlp import residual_mlp

MODELS = {"convnet": convnet, "linear": linear, "mlp": mlp, "residual_mlp": residual_mlp}

__all__ = [
    "MODELS", "convnet", "from_constructor", "from_linen", "from_nnx", "layers", "linear", "mlp", "residual_mlp",
]  # fmt: skip
