"""The paper's settings, for comparison: ``QuantumTD3("MlpPolicy", env, **PAPER)``."""

from typing import Any

#: Keyword arguments of QuantumTD3 for the recipe of arXiv 2503.09119 as we read it. Values that the paper does not state
#: legibly (learning rates, tau, tiny-batches) are TD3's, or marked as ours in docs/method.md.
PAPER: dict[str, Any] = dict(
    learning_rate=3e-4,
    qf_learning_rate=3e-4,
    qtdnn_learning_rate=1e-3,
    batch_size=256,
    tau=0.005,
    gamma=0.99,
    policy_delay=2,
    action_noise=0.1,
    target_policy_noise=0.2,
    target_noise_clip=0.5,
    qtdnn_gradient_steps=8,
    qtdnn_batch_size=32,
    fit_targets="sample",
    probe_std=0.0,
    backend="statevector",
    policy_kwargs=dict(
        n_qubits=10,
        n_layers=10,
        n_links=10,
        block="pqc",
        encoding="raw",
        pre_arch=[256],
        post_arch=[256],
        critic_arch=[256, 256],
        qtdnn_arch=[2048],
        qtdnn_features="raw",
        qtdnn_prior="none",
        readout="sample",
        normalize_observations=False,
    ),
)
