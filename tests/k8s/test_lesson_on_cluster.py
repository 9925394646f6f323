"""The lesson's second part, typed as it stands. Left out: what goes on until Ctrl-C, and putting Zoco there."""

from __future__ import annotations

import asyncio
import os
import subprocess

from k8s_builders import ROOT, KubeShop
from lesson_steps import LANGUAGES, code_of, looks_like, typed

LEFT_OUT = ("make ", "hey ", "port-forward", "--watch")


async def test_the_lessons_second_part_is_as_it_says(shop: KubeShop) -> None:
    namespace = shop.cluster.namespace
    commands = [
        (command.replace("-n zoco ", f"-n {namespace} ").replace("--kube", f"--kube --namespace {namespace}"), wanted)
        for part, command, wanted in typed("en")
        if part == 2 and not any(word in command for word in LEFT_OUT)
    ]
    assert len(commands) > 5
    for command, wanted in commands:
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", command],
            cwd=ROOT,
            env={**os.environ, "LC_ALL": LANGUAGES["en"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code_of(command, wanted), (command, done.stdout, done.stderr)
        assert looks_like(done.stdout, wanted), f"{command} says:\n{done.stdout}"
    await shop.run("scale", "deployment", "tokens", "--replicas=1")
    await shop.ready()
    await shop.audited()
