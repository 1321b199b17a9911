"""Search space of qtd3 for ``rl_zoo3.train -optimize``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

#: ``net_arch`` by the zoo's names
NET_ARCHS = {"small": [64, 64], "medium": [256, 256], "big": [400, 300]}


def convert_qtd3_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    Convert the parameters of a trial to hyperparameters of the zoo's YAML.

    :param sampled_params: ``trial.params``
    :return: hyperparameters
    """
    params = dict(sampled_params)
    train_freq = params["train_freq"]
    encoding_kwargs = {name: params[name] for name in ("angle_scale", "index_scale") if name in params}
    policy_kwargs: dict[str, Any] = {
        "net_arch": NET_ARCHS[params["net_arch"]],
        "encoding_kwargs": encoding_kwargs or None,
        "qtdnn_arch": [2 ** params["qtdnn_width_pow"]],
    }
    for name in ("encoding", "n_links", "qtdnn_features", "qtdnn_prior", "readout"):
        policy_kwargs[name] = params[name]
    hyperparams = {
        "gamma": 1 - params["one_minus_gamma"],
        "batch_size": 2 ** params["batch_size_pow"],
        # In steps of the vectorized environment, as in the zoo's search spaces
        "gradient_steps": max(train_freq // params["subsample_steps"], 1),
        "qtdnn_batch_size": 2 ** params["qtdnn_batch_size_pow"],
        "noise_type": "normal",
        "policy_kwargs": policy_kwargs,
    }
    for name in ("learning_rate", "qf_learning_rate", "qtdnn_learning_rate", "qtdnn_gradient_steps", "probe_std", "noise_std"):
        hyperparams[name] = params[name]
    return {**hyperparams, "train_freq": train_freq, "tau": params["tau"]}


def sample_qtd3_params(trial: "optuna.Trial", n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
    """
    Sample qtd3's hyperparameters. Those of TD3 have the zoo's ranges, except that batches start at 32 and noise is Gaussian.
    The circuit's size is not searched, because the machine determines it.

    :param trial: the trial
    :param n_actions: unused; ``QuantumTD3`` makes the noise of the right size itself
    :param n_envs: unused
    :param additional_args: unused; settings of ``HerReplayBuffer`` are not searched for
    :return: arguments of ``QuantumTD3``
    """
    trial.suggest_float("one_minus_gamma", 0.0001, 0.03, log=True)
    trial.suggest_int("batch_size_pow", 5, 11)
    trial.suggest_float("learning_rate", 1e-5, 0.002, log=True)
    trial.suggest_float("qf_learning_rate", 1e-5, 0.002, log=True)
    trial.suggest_int("train_freq", 1, 10)
    trial.suggest_int("subsample_steps", 1, 8)
    trial.suggest_float("tau", 0.001, 0.08, log=True)
    trial.suggest_float("noise_std", 0, 0.5)
    trial.suggest_categorical("net_arch", list(NET_ARCHS))
    trial.suggest_int("n_links", 0, 20)
    trial.suggest_categorical("readout", ["sample", "mean"])
    if trial.suggest_categorical("encoding", ["rms", "raw"]) == "rms":
        trial.suggest_float("angle_scale", 0.1, 2.0, log=True)
        trial.suggest_float("index_scale", 0.05, 1.0, log=True)
    trial.suggest_categorical("qtdnn_prior", ["mean_field", "none"])
    trial.suggest_categorical("qtdnn_features", ["periodic", "raw"])
    trial.suggest_int("qtdnn_width_pow", 5, 11)
    trial.suggest_float("qtdnn_learning_rate", 1e-4, 0.02, log=True)
    trial.suggest_int("qtdnn_gradient_steps", 1, 8, log=True)
    trial.suggest_int("qtdnn_batch_size_pow", 5, 8)
    trial.suggest_categorical("probe_std", [0.0, 0.1, 0.3])

    hyperparams = convert_qtd3_params(trial.params)
    for name in ("gamma", "batch_size", "gradient_steps"):
        trial.set_user_attr(name, hyperparams[name])
    # The constructor takes the number; noise_type and noise_std belong to the YAML
    del hyperparams["noise_type"]
    hyperparams["action_noise"] = hyperparams.pop("noise_std")
    return hyperparams
