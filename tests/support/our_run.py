"""Takes a run that asks for this package as far as veRL's validation, and prints what it came to as one line of JSON.

Run as a script: MODEL, then Hydra overrides.
"""

import json
import sys
from pathlib import Path


def main(model: str, *overrides: str) -> None:
    """Compose, validate and look."""
    import verl.trainer
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from verl.trainer import main_ppo

    with initialize_config_dir(str(Path(verl.trainer.__file__).parent / "config"), version_base=None):
        config = compose(
            "ppo_trainer",
            [
                "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4",
                "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4",
                "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4",
                f"actor_rollout_ref.model.path={model}",
                *overrides,
            ],
        )
    main_ppo.auto_set_device(config)
    main_ppo.validate_config(config, main_ppo.need_reference_policy(config), main_ppo.need_critic(config))

    from wapo_verl.environments.registry import names

    found = {
        "device": config.trainer.device,
        "trainer": config.trainer.v1.trainer_mode,
        "external_lib": OmegaConf.to_container(OmegaConf.create({"lib": config.actor_rollout_ref.model.external_lib})),
        "ray_init": OmegaConf.to_container(config.ray_kwargs.ray_init),
        "loss": config.actor_rollout_ref.actor.policy_loss.loss_mode,
        "environments": sorted(names()),
        "wapo_verl": str(Path(sys.modules["wapo_verl"].__file__ or "").parent),
        "verl": verl.__version__,
    }
    print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
