from sb3_quantum.layers.blocks import (
    BLOCKS,
    CLAIMS,
    BernoulliBlock,
    Block,
    BlockStep,
    FCBlock,
    MeanFieldBlock,
    Pairs,
    RBGBlock,
    ZerosBlock,
    block_class,
    check_block_kwargs,
    make_block,
)
from sb3_quantum.layers.blocks.checker import check_block
from sb3_quantum.layers.encoding import ENCODINGS, RawEncoding, RMSEncoding, make_encoding
from sb3_quantum.layers.fidelity import (
    can_be_simulated,
    circuit_statistics,
    fit_quality,
    gradient_fidelity,
    meyer_wallach,
    shot_fidelity,
)
from sb3_quantum.layers.gradients import FITTED_GRADIENTS, GRADIENTS, circuits_per_gradient, parameter_shift, spsa
from sb3_quantum.layers.mlp import mlp
from sb3_quantum.layers.qtdnn import QTDNN_FEATURES, QtDNN
from sb3_quantum.layers.quantum_layer import QuantumLayer
from sb3_quantum.layers.readout import READOUTS, check_readout, read

__all__ = [
    "BLOCKS",
    "CLAIMS",
    "ENCODINGS",
    "FITTED_GRADIENTS",
    "GRADIENTS",
    "QTDNN_FEATURES",
    "READOUTS",
    "BernoulliBlock",
    "Block",
    "BlockStep",
    "FCBlock",
    "MeanFieldBlock",
    "Pairs",
    "QtDNN",
    "QuantumLayer",
    "RBGBlock",
    "RMSEncoding",
    "RawEncoding",
    "ZerosBlock",
    "block_class",
    "can_be_simulated",
    "check_block",
    "check_block_kwargs",
    "check_readout",
    "circuit_statistics",
    "circuits_per_gradient",
    "fit_quality",
    "gradient_fidelity",
    "make_block",
    "make_encoding",
    "meyer_wallach",
    "mlp",
    "parameter_shift",
    "read",
    "shot_fidelity",
    "spsa",
]
