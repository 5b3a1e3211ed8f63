"""Sources to shared libraries, by g++, kept on disk by content."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from gramserve.errors import BlockError, EngineUnavailableError

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".pytest_cache" / "cuda_shim"
KEPT_SECONDS = 14 * 24 * 3600
FLAGS = (
    "-std=c++17",
    "-fPIC",
    "-w",
    # Every library has its own scheduler and its own templates.
    "-fvisibility=hidden",
    "-fno-gnu-unique",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    # What a card faults on, or does wrong: misaligned vectors, wrong indices of small arrays.
    "-fsanitize=alignment,bounds-strict,shift-exponent",
    "-fsanitize-undefined-trap-on-error",
    # Fibers jump between stacks, which hardened builds take for an attack.
    "-U_FORTIFY_SOURCE",
    *(("-fcf-protection=none",) if platform.machine() == "x86_64" else ()),
)
_BOUNDS = r"(?:__launch_bounds__\s*\(([^)]*)\)\s*)?"
KERNEL = re.compile(rf'extern\s+"C"\s+__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\(')
CONSTANT = re.compile(r"__constant__\s+(?:__align__\s*\(\w+\)\s*)?[\w\s]+?(\w+)\s*\[")


class CompilerMissingError(EngineUnavailableError):
    """There is no C++ compiler."""

    code = "compiler_missing"


@functools.cache
def find_compiler(name: str) -> tuple[str, str]:
    """Return the path and the version of a C++ compiler."""
    path = shutil.which(name)
    if path is None:
        raise CompilerMissingError(
            f"tests run the CUDA sources on the CPU and need a C++17 compiler, but {name!r} is not "
            "there: install one (apt-get install g++) or name one in CXX"
        )
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return path, version.stdout.partition("\n")[0]


class Compiler:
    """Compiles sources, each content once.

    Parameters
    ----------
    cache : path, optional
        Where libraries are kept between runs.
    flags : sequence of str
        More flags, for the runtime and for sources.
    """

    def __init__(self, cache: Path = CACHE, flags: tuple[str, ...] = ()) -> None:
        self.cache = cache
        self.flags = (*FLAGS, *flags)

    def library(self, source: str) -> tuple[Path, dict[str, int], list[str]]:
        """Return the library of a source, its kernels with their bounds, and its constants."""
        kernels = {}
        for before, after, name in KERNEL.findall(source):
            bound = (before or after).partition(",")[0].strip()
            kernels[name] = int(bound) if bound.isdigit() else 1024
        constants = CONSTANT.findall(source)
        entries = [f"GRAMSERVE_SHIM_KERNEL({name})" for name in kernels]
        entries += [f"GRAMSERVE_SHIM_CONSTANT({name})" for name in constants]
        shim = HERE / "shim.h"
        text = f'#line 1 "source.cu"\n{source}\n#line 1 "entries"\n' + "\n".join(entries) + "\n"
        runtime = self._runtime()
        path = self._made(
            ("-O1", "-shared", "-Wl,-Bsymbolic", "-include", str(shim)),
            text,
            shim.read_text() + runtime.name,
            ".so",
            (str(runtime),),
        )
        return path, kernels, constants

    def _runtime(self) -> Path:
        text = (HERE / "runtime.cpp").read_text()
        return self._made(("-O2", "-c", f"-I{HERE}"), text, (HERE / "shim.h").read_text(), ".o", ())

    def _made(
        self, flags: tuple[str, ...], text: str, also: str, suffix: str, objects: tuple[str, ...]
    ) -> Path:
        compiler, version = find_compiler(os.environ.get("CXX", "g++"))
        asked = repr((version, self.flags, flags, text, also))
        path = self.cache / (hashlib.sha256(asked.encode()).hexdigest()[:32] + suffix)
        if path.exists():
            os.utime(path)
            return path
        self.cache.mkdir(parents=True, exist_ok=True)
        self._forget()
        with tempfile.TemporaryDirectory(dir=self.cache) as place:
            made = Path(place) / "made"
            source = Path(place) / "source.cpp"
            source.write_text(text)
            command = [compiler, *self.flags, *flags, str(source), *objects, "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BlockError(f"{compiler} refuses the source:\n{done.stderr[:8000]}")
            made.replace(path)
        return path

    def _forget(self) -> None:
        """Remove what nobody asked for in two weeks."""
        for path in self.cache.iterdir():
            # Another process may remove the same file.
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_mtime < time.time() - KEPT_SECONDS:
                    path.unlink()
