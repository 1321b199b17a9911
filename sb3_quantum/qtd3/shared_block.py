"""Make the block that all actors of a policy share, such as the quantum layer."""

from typing import TYPE_CHECKING, Any

from stable_baselines3.common.type_aliases import Schedule

from sb3_quantum.layers import Block, block_class, make_block

if TYPE_CHECKING:
    from sb3_quantum.qtd3.policies import QuantumTD3Policy


def make_shared_block(policy: "QuantumTD3Policy", lr_schedule: Schedule) -> Block | None:
    """
    Make a policy's block, if all actors share it.

    :param policy: the policy, before its networks are made
    :param lr_schedule: its learning rate schedule
    :return: the block; ``None`` if every actor makes its own
    """
    kwargs = policy.quantum_kwargs
    if block_class(kwargs["block"]).shared_as is None:
        return None
    optimizer_class, optimizer_kwargs = kwargs["qtdnn_optimizer_class"], kwargs["qtdnn_optimizer_kwargs"]
    if optimizer_class is None:
        optimizer_class = policy.optimizer_class
        optimizer_kwargs = policy.optimizer_kwargs if optimizer_kwargs is None else optimizer_kwargs
    settings: dict[str, Any] = dict(
        **policy.initial_backend,
        **{key: kwargs[key] for key in ("qtdnn_arch", "qtdnn_features", "qtdnn_prior")},
        qtdnn_learning_rate=lr_schedule(1),
        activation_fn=policy.activation_fn,
        optimizer_class=optimizer_class,
        optimizer_kwargs=optimizer_kwargs,
    )
    return make_block(kwargs["block"], policy.ansatz, kwargs["block_kwargs"], policy.readout, settings).to(policy.device)
