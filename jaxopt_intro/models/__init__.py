"""Models as pairs of pure functions, and adapters for any Flax module."""

from jaxopt_intro import routing
from jaxopt_intro.models import layers
from jaxopt_intro.models.allcnnc import allcnnc
from jaxopt_intro.models.convnet import convnet
from jaxopt_intro.models.cost import Cost, cost, flop
from jaxopt_intro.models.deepobs import cnn_2c2d, cnn_3c3d
from jaxopt_intro.models.from_constructor import from_constructor
from jaxopt_intro.models.from_linen import from_linen
from jaxopt_intro.models.from_nnx import from_nnx
from jaxopt_intro.models.linear import linear
from jaxopt_intro.models.mlp import mlp
from jaxopt_intro.models.precision import compute_dtype_of, refuse_wide_products, with_compute_dtype
from jaxopt_intro.models.residual_mlp import residual_mlp
from jaxopt_intro.models.resnet import resnet

MODELS = {
    "2c2d": routing.named(cnn_2c2d, "2c2d"),
    "3c3d": routing.named(cnn_3c3d, "3c3d"),
    "allcnnc": allcnnc,
    "convnet": convnet,
    "linear": linear,
    "mlp": mlp,
    "residual_mlp": residual_mlp,
    "resnet": resnet,
}

__all__ = [
    "MODELS", "Cost", "allcnnc", "cnn_2c2d", "cnn_3c3d", "compute_dtype_of", "convnet", "cost", "flop",
    "from_constructor", "from_linen", "from_nnx", "layers", "linear", "mlp", "refuse_wide_products", "residual_mlp",
    "resnet", "with_compute_dtype",
]  # fmt: skip
