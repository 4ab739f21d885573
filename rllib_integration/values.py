"""`PPOWithValues`: PPO's default module, with its value head on the env runners, so that views have the value.

RLlib leaves the value head out of the modules that sample, because only the learner needs it. Keeping it costs the
synchronization of its weights. A custom module needs the same two methods. This module imports ray and torch, so the
package loads it only on request.
"""

from __future__ import annotations

from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule


class PPOWithValues(DefaultPPOTorchRLModule):  # type: ignore[misc]
    """For `config.rl_module(rl_module_spec=RLModuleSpec(module_class=PPOWithValues))`."""

    def setup(self) -> None:
        """Build all layers, also on an env runner."""
        self.inference_only = False
        super().setup()

    def get_non_inference_attributes(self) -> list[str]:
        """No layer is left out when weights go to the env runners."""
        return []
