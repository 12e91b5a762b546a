"""Checksums of an export that are right, whatever its files are."""

import json
from pathlib import Path

from tzmmoe.serving import seal
from tzmmoe.system.digest import sha256


def sum_up(export: Path) -> None:
    """Update the checksums to those of the files, as an attacker without a key would."""
    file = export / "signature.json"
    signature = json.loads(file.read_text(encoding="utf-8"))
    signature["sha256"] = {name: sha256(export / name) for name in signature["sha256"]}
    file.write_text(json.dumps(signature), encoding="utf-8")
    seal_up(export)


def seal_up(export: Path) -> None:
    """Those in seal.json alone."""
    (export / seal.CHECKSUMS).unlink(missing_ok=True)
    seal.write(export, None)


def edit_signature(export: Path, change: dict) -> None:
    """Replace entries of signature.json, with all checksums renewed."""
    file = export / "signature.json"
    signature = json.loads(file.read_text(encoding="utf-8")) | change
    file.write_text(json.dumps(signature), encoding="utf-8")
    seal_up(export)
