"""What torch's own operators become on the way to int8: which of them this toolkit lowers, and what to use instead."""

from __future__ import annotations

from collections.abc import Mapping

from .fixes import instead_of

#: Operators of torch's dispatcher that a CP-Mobile is lowered from.
LOWERED = frozenset(("convolution", "batch_norm", "relu", "add", "avg_pool2d", "mean"))

#: Only the form of a tensor changes, or nothing: no operator of the target stands for them.
SILENT = frozenset(
    ("alias", "clone", "detach", "dropout", "expand", "contiguous", "_to_copy", "copy_", "lift_fresh", "getitem")
)

#: Several names of torch's for one thing.
SYNONYMS: Mapping[str, str] = {
    "native_batch_norm": "batch_norm",
    "cudnn_batch_norm": "batch_norm",
    "_native_batch_norm_legit": "batch_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "_native_batch_norm_legit_functional": "batch_norm",
    "_batch_norm_with_update": "batch_norm",
    "_unsafe_view": "view",
    "mkldnn_convolution": "convolution",
    "_adaptive_avg_pool2d": "mean",
}

#: TFLite's operator where one stands for torch's, or torch's own name in capitals where int8 needs several.
KINDS: Mapping[str, str] = {
    "convolution": "CONV_2D",
    "batch_norm": "MUL",
    "relu": "RELU",
    "hardtanh": "RELU6",
    "add": "ADD",
    "sub": "SUB",
    "mul": "MUL",
    "div": "DIV",
    "mean": "MEAN",
    "sum": "SUM",
    "amax": "REDUCE_MAX",
    "max": "REDUCE_MAX",
    "avg_pool2d": "AVERAGE_POOL_2D",
    "max_pool2d_with_indices": "MAX_POOL_2D",
    "addmm": "FULLY_CONNECTED",
    "mm": "FULLY_CONNECTED",
    "linear": "FULLY_CONNECTED",
    "bmm": "BATCH_MATMUL",
    "baddbmm": "BATCH_MATMUL",
    "_softmax": "SOFTMAX",
    "_safe_softmax": "SOFTMAX",
    "_log_softmax": "LOG_SOFTMAX",
    "sigmoid": "LOGISTIC",
    "tanh": "TANH",
    "gelu": "GELU",
    "silu": "SILU",
    "mish": "MISH",
    "elu": "ELU",
    "leaky_relu": "LEAKY_RELU",
    "_prelu_kernel": "PRELU",
    "hardswish": "HARD_SWISH",
    "hardsigmoid": "HARD_SIGMOID",
    "rsqrt": "RSQRT",
    "sqrt": "SQRT",
    "pow": "POW",
    "exp": "EXP",
    "log": "LOG",
    "abs": "ABS",
    "native_layer_norm": "LAYER_NORM",
    "native_group_norm": "GROUP_NORM",
    "linalg_vector_norm": "VECTOR_NORM",
    "cat": "CONCATENATION",
    "stack": "PACK",
    "view": "RESHAPE",
    "reshape": "RESHAPE",
    "unsqueeze": "RESHAPE",
    "squeeze": "RESHAPE",
    "permute": "TRANSPOSE",
    "transpose": "TRANSPOSE",
    "t": "TRANSPOSE",
    "slice": "STRIDED_SLICE",
    "select": "STRIDED_SLICE",
    "constant_pad_nd": "PAD",
    "upsample_nearest2d": "RESIZE_NEAREST_NEIGHBOR",
    "upsample_bilinear2d": "RESIZE_BILINEAR",
    "_native_multi_head_attention": "ATTENTION",
    "_transformer_encoder_layer_fwd": "ATTENTION",
    "multiheadattention": "ATTENTION",
    "_scaled_dot_product_flash_attention_for_cpu": "ATTENTION",
    "scaled_dot_product_attention": "ATTENTION",
}

_RELU = "put a ReLU in its place"
_FIXES: Mapping[str, str] = {
    "SILU": _RELU,
    "MISH": _RELU,
    "HARD_SIGMOID": _RELU,
    "LAYER_NORM": "batch norm in its place: it folds into the convolution before it",
    "GROUP_NORM": "batch norm in its place: it folds into the convolution before it",
    "VECTOR_NORM": "norm=frozen in place of a norm of activations: it folds away",
    "ATTENTION": "convolutions in its place: arch=cpm",
    "GRU": "convolutions in its place: arch=cpm",
    "LSTM": "convolutions in its place: arch=cpm",
    "MAX_POOL_2D": "a strided convolution or an average pool in its place",
    "FULLY_CONNECTED": "a 1x1 convolution in its place",
    "RESHAPE": "keep all four dimensions to the end: a mean over frequency and time ends the network",
    "MUL": "batch norm in its place: it folds into the convolution before it",
    "LOGISTIC": _RELU,
    "SOFTMAX": "leave it out: the network ends with its logits, and the loss and the stream take the softmax",
}


def short_name(name: str) -> str:
    """Torch's name of an operator without namespace, overload and the mark of working in place, as used above."""
    base = name.split("::")[-1].split(".")[0]
    base = base if base in SILENT else base.rstrip("_") or base
    return SYNONYMS.get(base, base)


def kind_of(base: str) -> str:
    """What the lint calls the operator of the short name `base`."""
    return KINDS.get(base, base.strip("_").upper())


def fix_for(kind: str) -> str:
    """What to use in place of an operator that has no int8 form here."""
    return _FIXES.get(kind) or instead_of(kind) or "use what CP-Mobile is made of: convolutions, batch norm, ReLU, sums"
