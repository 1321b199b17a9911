"""
Train an arm of ``recipe.py`` and keep longer averages of the actor's weights beside the deployed one.

Nothing learns from an average, so the training is the same as without them. Their returns, on the reset seeds of the
evaluations in training, go into a second CSV file beside the run's.

    python benchmarks/longer_averages.py --arm gamma98 --seed 8 --minutes 45 --every 2.5 --checkpoint 5 --out logs/recipe
"""

import csv
import time

import numpy as np
import recipe
import torch as th

from sb3_quantum.common.durable import replacing
from sb3_quantum.qtd3.averaging import WeightAverage
from sb3_quantum.qtd3.policies import QuantumTD3Policy, copy_of

#: steps of the averages; the arm's own is 0.003
TAUS = (0.001, 0.0003)
#: minutes before which nothing is evaluated
FIRST = 15.0


class Clock(recipe.Clock):
    """``recipe.Clock`` with further averages, whose cost is not counted as training."""

    def _on_training_start(self) -> None:
        super()._on_training_start()
        policy = self.model.policy
        assert isinstance(policy, QuantumTD3Policy)
        self.policy, self.averages = policy, {tau: (WeightAverage(tau), copy_of(policy.actor)) for tau in TAUS}
        self.found: list[dict[str, float]] = []
        path = self.path.with_suffix(".averages.pt")
        if path.exists() and self.num_timesteps > 0:
            saved = th.load(path, weights_only=True)
            self.found = [row for row in saved["rows"] if row["cpu_minutes"] <= self.saved]
            for tau, (average, networks) in self.averages.items():
                average.n_averaged = saved["n_averaged"][tau]
                networks.load_state_dict(saved["networks"][tau])
        self._plain = policy.update_average
        policy.update_average = self._update  # type: ignore[method-assign]

    def _update(self) -> None:
        self._plain()
        start = time.process_time()
        for average, networks in self.averages.values():
            average.update(self.policy.actor, networks)
        self._outside += time.process_time() - start

    def save(self) -> None:
        """Write model, replay buffer and averages."""
        super().save()
        saved = {
            "rows": self.found,
            "n_averaged": {tau: average.n_averaged for tau, (average, _) in self.averages.items()},
            "networks": {tau: networks.state_dict() for tau, (_, networks) in self.averages.items()},
        }
        with replacing(self.path.with_suffix(".averages.pt")) as partial:
            th.save(saved, partial)

    def evaluate(self) -> None:
        """Evaluate the averages, then what the run itself evaluates."""
        start, minutes = time.process_time(), self.elapsed
        if minutes >= FIRST:
            row = {"cpu_minutes": round(minutes, 2), "updates": float(self.model._n_updates)}
            deployed = self.policy.actor_average
            for tau, (_, networks) in self.averages.items():
                self.policy.actor_average = networks
                returns = self._returns()
                row |= {f"return_{tau}": round(float(returns.mean()), 2), f"worst_{tau}": round(float(np.min(returns)), 2)}
            self.policy.actor_average = deployed
            self.found.append(row)
            with replacing(self.path.with_suffix(".averages.csv")) as partial, partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
                writer.writerows(self.found)
        self._outside += time.process_time() - start
        super().evaluate()


if __name__ == "__main__":
    recipe.Clock = Clock
    recipe.main()
