"""The model that is evaluated: a Hugging Face folder or name, or a checkpoint of a run, whose shards are merged."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from wapo_verl.evaluation.manifest import ModelRecord
from wapo_verl.guard.checkpoints import TRACKER

HASHED = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
"""Kinds of files that make a model what it is: weights, configuration, tokenizer."""


def loadable_model(asked: str, work: Path) -> ModelRecord:
    """Return a model that engines can load.

    Args:
        asked: a folder in Hugging Face's layout, a name on its hub, a checkpoint of veRL's (`global_step_40`), or the
            folder of a run's checkpoints, whose latest is taken.
        work: where a checkpoint's shards are merged to, into a folder of their hash's name.

    Raises:
        ValueError: for a folder that holds no model, or shards that cannot be merged.
        OSError: when files cannot be read or written.
    """
    place = Path(asked)
    folder = _folder_of(place, work) if place.exists() else _from_hub(asked)
    return ModelRecord(asked=asked, folder=str(folder.absolute()), sha256=folder_hash(folder))


def _folder_of(place: Path, work: Path) -> Path:
    if _has_weights(place):
        return place
    if (place / TRACKER).is_file():
        text = (place / TRACKER).read_text().strip()
        if not text.isdecimal():
            raise ValueError(f"{place / TRACKER} names no step ({text!r}); give a folder global_step_STEP in it")
        place = place / f"global_step_{text}"
    actor = place / "actor" if (place / "actor").is_dir() else place
    if _has_weights(actor / "huggingface"):
        return actor / "huggingface"
    if not list(actor.glob("model_world_size_*_rank_*.pt")):
        raise ValueError(
            f"{place} holds no model: neither weights in Hugging Face's layout nor FSDP shards "
            "(actor/model_world_size_*_rank_*.pt); other checkpoints are merged by `python -m verl.model_merger`"
        )
    return _merged(actor, work)


def _has_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _merged(actor: Path, work: Path) -> Path:
    """Return the folder of the merged model, made by veRL's own merger where it is not there yet."""
    target = work / f"model_{_shards_key(actor)}"
    if target.is_dir():
        return target
    unfinished = work / f".{target.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    command += ["--local_dir", str(actor), "--target_dir", str(unfinished)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not _has_weights(unfinished):
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it wrote no weights"]
        raise ValueError(f"veRL's merger could not merge {actor}: {last[0]}")
    unfinished.replace(target)
    return target


def _shards_key(actor: Path) -> str:
    """Return a short name for a checkpoint's shards: their path, sizes and times."""
    shards = sorted(actor.glob("model_world_size_*_rank_*.pt"))
    known = [(str(shard.resolve()), shard.stat().st_size, shard.stat().st_mtime_ns) for shard in shards]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:12]


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ValueError(f"there is no folder {name}; give a model's folder, a checkpoint, or a name on the hub")
    try:
        return Path(snapshot_download(name))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name} is no folder here, and the Hugging Face hub does not give it ({reason})") from error


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 of a model's files, by their names and contents."""
    whole = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in HASHED:
            with file.open("rb") as stream:
                whole.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
