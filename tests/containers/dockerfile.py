"""services/Dockerfile, read and carried out without Docker: each stage in a folder that stands for its `/`.

What concerns the base image (a RUN of anything but uv, a USER) is read only. The base's Python is this one's.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "services" / "Dockerfile"
# How packages are reached from here. Nothing that says where to install, which is the Dockerfile's to say: a
# UV_PYTHON would have `uv pip install` fill that Python and not the stage's `.venv`.
INHERITED = re.compile(
    r"HOME|.*_PROXY|SSL_.*|UV_(.*INDEX.*|.*CERT.*|CACHE_DIR|FIND_LINKS|NATIVE_TLS|OFFLINE)", re.I
)


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]

    def arguments(self, keyword: str) -> list[str]:
        """What stands behind a keyword, wherever it does."""
        return [argument for each, argument in self.instructions if each == keyword]


@cache
def read() -> tuple[dict[str, str], dict[str, Stage]]:
    """The ARGs before the first FROM, and the stages by name."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    instructions = [
        (line.partition(" ")[0], line.partition(" ")[2].strip())
        for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
        if line
    ]
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for keyword, argument in instructions:
        if keyword == "FROM":
            base, _, name = argument.split()
            stages[name] = Stage(name, base, ())
        elif stages:
            last = stages[next(reversed(stages))]
            stages[last.name] = Stage(last.name, last.base, (*last.instructions, (keyword, argument)))
        else:
            arguments |= dict([argument.split("=", 1)])
    return arguments, stages


def lineage(name: str) -> list[Stage]:
    """A stage, after those that it builds on."""
    _, stages = read()
    return [*lineage(stages[name].base), stages[name]] if name in stages else []


def environment(name: str) -> dict[str, str]:
    """What a stage's ENV instructions set; `$PATH` and the like are left to see."""
    lines = [line for stage in lineage(name) for line in stage.arguments("ENV")]
    return dict(pair.split("=", 1) for line in lines for pair in shlex.split(line))


def entrypoint(name: str) -> list[str]:
    """The command that a target starts."""
    (*_, last) = [line for stage in lineage(name) for line in stage.arguments("ENTRYPOINT")]
    command: list[str] = json.loads(last)
    return command


def sources(copy: str) -> list[Path]:
    """The files and folders that a COPY from the context takes."""
    *patterns, _ = shlex.split(copy)
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


@dataclass(frozen=True)
class Builder:
    """Carries stages out below a folder."""

    folder: Path

    def build(self, name: str) -> Path:
        """The folder that stands for `/` once a stage was carried out."""
        root = self.folder / name
        if root.exists():
            return root
        (root / "app").mkdir(parents=True)
        stage = lineage(name)[-1]
        if stage.base in read()[1]:
            _link(self.build(stage.base), root)
        for keyword, argument in stage.instructions:
            if keyword == "COPY":
                self._copy(argument, root)
            elif keyword == "RUN" and argument.startswith("uv "):
                self.run(name, argument)
        return root

    @staticmethod
    def commands(name: str) -> list[str]:
        """What a stage itself runs of uv."""
        return [line for line in lineage(name)[-1].arguments("RUN") if line.startswith("uv ")]

    def run(self, name: str, command: str) -> str:
        """Runs a command as in a stage's RUN; what it says."""
        inherited = {key: value for key, value in os.environ.items() if INHERITED.fullmatch(key)}
        ended = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder / name / "app",
            env={
                **inherited,
                "PATH": f"{Path(sys.executable).parent}:{sys.base_prefix}/bin:{os.environ['PATH']}",
                **environment(name),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}"
        return ended.stdout

    def start(self, name: str, *arguments: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Starts a target's ENTRYPOINT, with its ENV and these variables and nothing else."""
        root = self.build(name)
        defined = {
            key: Template(value).safe_substitute(PATH="/usr/bin:/bin").replace("/app/", f"{root}/app/")
            for key, value in environment(name).items()
        }
        program, *rest = entrypoint(name)
        with log.open("wb") as output:
            return subprocess.Popen(
                [shutil.which(program, path=defined["PATH"]) or program, *rest, *arguments],
                cwd=root / "app",
                env={**defined, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _copy(self, copy: str, root: Path) -> None:
        if origin := re.match(r"--from=(\S+) (.+)", copy):
            source, target = shlex.split(origin[2])
            if origin[1] != "uv":
                _link(self.build(origin[1]) / source.lstrip("/"), root / "app" / target)
            return
        target = shlex.split(copy)[-1]
        for path in sources(copy):
            if path.is_dir():
                ours = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, root / "app" / target, ignore=ours, dirs_exist_ok=True)
            else:
                (root / "app" / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, root / "app" / target)


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
