"""Starts a run as veRL's main does, up to where the trainer would begin: MODEL, then Hydra overrides.

Prints what Ray has, and the device that the driver and a worker take, as one line of JSON.
"""

import json
import sys
from pathlib import Path


def main(model: str, *overrides: str) -> None:
    """Compose, validate, and have veRL connect to Ray."""
    import ray
    import verl.trainer
    from hydra import compose, initialize_config_dir
    from verl.plugin.platform import get_platform
    from verl.trainer import main_ppo

    @ray.remote(num_cpus=1)
    class Runner:
        def run(self, config: object) -> None:
            from verl.plugin.platform import get_platform

            found = {
                "resources": {name: ray.cluster_resources().get(name) for name in ("CPU", "GPU")},
                "driver": driver,
                "worker": get_platform().device_name,
            }
            Path(report).write_text("FOUND " + json.dumps(found))

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
    driver, report = get_platform().device_name, str(Path(model) / "report.txt")
    main_ppo.run_ppo(config, Runner)
    print(Path(report).read_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
