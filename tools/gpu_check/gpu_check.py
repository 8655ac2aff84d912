"""On a machine with a GPU, from a bare checkout to results: builds for the card at hand or takes what was built
beforehand, measures, holds it against the CPU, runs NVIDIA's sanitizers and ncu, and writes a page about all of it.

    tools/gpu_check.sh --photographs FOLDER --wheel mtcnn_fast-*.whl --out FOLDER

Wanted: Python with numpy, safetensors, opencv, pytest and pillow; to build here also nvcc, CMake, a C++ compiler,
pybind11 and scikit-build-core. Used where they are there: compute-sanitizer, ncu, PyTorch, facenet-pytorch,
pytest-xdist. Nothing is downloaded, and no setting of the card is touched. The exit status is 0 where every step that
ran to its end was clean; the page names those that did not finish. A run leaves at most eight files in --out, and
NAME-page.txt is the one to read.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_page import page
from gpu_steps import SECONDS, Run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PICTURE = ROOT / "tests" / "data" / "astronaut.jpg"
# The emulator takes seconds for what a GPU does in a millisecond.
EMULATED_TIMES = 6
LARGEST_FILE = 16 << 20
DETECTOR = "import mtcnn_fast; print(mtcnn_fast.MTCNN(device='cuda').device)"
# test_train*.py import PyTorch in each of pytest's processes, and test nothing of CUDA's.
TESTS = "cuda and not cuda_build and not cuda_model or devices_and_profiles"
# "filterwarnings = error" meets versions of other packages that nobody has tried.
PYTEST = [
    "-q",
    "-p",
    "no:cacheprovider",
    "-o",
    "faulthandler_timeout=60",
    "--maxfail=25",
    "--durations=10",
    "-W",
    "default",
]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, help=f"budget of all steps ({SECONDS}; {EMULATED_TIMES} times that emulated)"
    )
    parser.add_argument(
        "--photographs", type=Path, help="a folder as bench/photographs.py reads it (where that looks itself)"
    )
    parser.add_argument("--wheels", type=Path, help="folder of packages that are missing here, as *.whl")
    parser.add_argument(
        "--wheel",
        type=Path,
        help="the package, built beforehand for this card; a program bench_cuda beside it is taken, too. The package "
        "is built here if this one cannot be installed",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "bench" / "results", help="folder of the results (bench/results)"
    )
    parser.add_argument(
        "--emulated",
        type=Path,
        metavar="BUILD",
        help="shows without a GPU that the steps work: with the emulated backend and benchmark of a CMake build folder "
        "(MTCNN_FAST_BUILD_TESTS and MTCNN_FAST_BUILD_BENCHMARKS), and little work. Its figures mean nothing",
    )
    args = parser.parse_args(argv)
    for name in ("photographs", "wheels", "wheel", "emulated"):
        path = getattr(args, name)
        if path is None:
            continue
        setattr(args, name, path.resolve())
        if not (path.is_file() if name == "wheel" else path.is_dir()):
            parser.error(f"--{name}: {path} is no {'file' if name == 'wheel' else 'folder'}")
    if args.seconds is None:
        args.seconds = SECONDS * (EMULATED_TIMES if args.emulated else 1)
    if args.seconds <= 0:
        parser.error(f"--seconds: got {args.seconds:g}, wanted more than 0")
    args.out = args.out.resolve()
    return args


def said(*command: str) -> str | None:
    """What a program prints; None if it is missing, fails or takes more than half a minute."""
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def query(field: str) -> str | None:
    """A value of the first GPU from nvidia-smi; None without one."""
    return said("nvidia-smi", "--id=0", f"--query-gpu={field}", "--format=csv,noheader")


def architecture(capability: str | None) -> str:
    """CMake's architecture for a compute capability such as "9.0": machine code for this card alone.

    CMake's own "native" runs a program while it configures, which is a risk more.
    """
    found = re.fullmatch(r"(\d+)\.(\d)", capability or "")
    return f"{found[1]}{found[2]}-real" if found else "native"


@dataclass
class Checker:
    """One run of all steps."""

    args: argparse.Namespace
    run: Run
    name: str
    site: Path
    native: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Where each step leaves its results."""
        out = self.args.out
        made = {
            "bench_cuda": "-bench.json",
            "gpu": ".json",
            "kernels": "-kernels.csv",
            "memcheck": "-memcheck.txt",
            "racecheck": "-racecheck.txt",
            "device_memcheck": "-device-memcheck.txt",
        }
        return {step: out / f"{self.name}{end}" for step, end in made.items()} | {
            "tests": self.run.folder / "tests.xml"
        }

    def python(self, *arguments: str | Path) -> list[str | Path]:
        return [sys.executable, *arguments]

    def pip(self, *arguments: str | Path) -> list[str | Path]:
        return self.python("-m", "pip", *arguments)

    def install(self, step: str, *wheels: Path) -> bool:
        return self.run.step(
            step,
            self.pip("install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", self.site, *wheels),
        )

    def wants(self, step: str, *modules: str) -> bool:
        """Whether Python has the modules that a step needs; a step without them is noted as failed."""
        absent = [module for module in modules if not self.has(module)]
        if absent:
            self.run.note(
                step, "failed", f"Python has no {', '.join(absent)}: put wheels into a folder, and --wheels names it"
            )
        return not absent

    def has(self, module: str) -> bool:
        return (
            any((self.site / name).exists() for name in (module, f"{module}.py"))
            or importlib.util.find_spec(module) is not None
        )

    # --- The package ------------------------------------------------------------------------------------------------

    def package(self) -> bool:
        """Installs the package: the one that was built beforehand, else one built here."""
        if self.args.emulated:
            folder = self.args.emulated
            self.run.environment["MTCNN_FAST_CUDA_LIBRARY"] = str(folder / "tests" / "simt" / "libmtcnn_fast_cuda.so")
            self.native = folder / "bench" / "bench_cuda_emulated"
        if self.args.wheel and self.prebuilt(self.args.wheel):
            return True
        return self.wants("build", "numpy", "safetensors", "scikit_build_core", "pybind11") and self.build()

    def prebuilt(self, wheel: Path) -> bool:
        if not self.install("wheel", wheel):
            self.run.outcomes[-1].verdict = "unusable"  # which is no failure if one can be built here
            return False
        program = wheel.with_name("bench_cuda")
        if not self.args.emulated and program.is_file():
            self.native = self.run.folder / "bench_cuda"  # a copy, because copying files around loses the x bit
            shutil.copyfile(program, self.native)
            self.native.chmod(0o755)
        return True

    def build(self) -> bool:
        folder = self.run.folder / "build"
        defines = {"MTCNN_FAST_CUDA": "OFF"}
        if not self.args.emulated:
            defines = {
                "MTCNN_FAST_CUDA": "ON",
                "CMAKE_CUDA_ARCHITECTURES": architecture(query("compute_cap")),
                "MTCNN_FAST_BUILD_BENCHMARKS": "ON",
                "CMAKE_DISABLE_FIND_PACKAGE_benchmark": "ON",  # bench_stages is about the CPU
            }
            self.native = folder / "bench" / "bench_cuda"
        options = [f"-Ccmake.define.{key}={value}" for key, value in defines.items()]
        command = self.pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", f"-Cbuild-dir={folder}")
        # -lineinfo: the sanitizers and ncu then name lines of the sources.
        flags = f"{os.environ.get('CUDAFLAGS', '')} -lineinfo".strip()
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count()))
        made = self.run.folder / "wheel"
        if not self.run.step(
            "build", [*command, *options, "-w", made, ROOT], CUDAFLAGS=flags, CMAKE_BUILD_PARALLEL_LEVEL=jobs
        ):
            return False
        return self.install("install", *made.glob("mtcnn_fast-*.whl"))

    # --- What is run on it -------------------------------------------------------------------------------------------

    def device(self) -> None:
        """Makes a detector, which loads every kernel; if that fails, the same under memcheck."""
        if self.run.step("device", self.python("-c", DETECTOR)) or self.args.emulated:
            return
        self.sanitize("device_memcheck", "memcheck", "-c", DETECTOR)

    def sanitize(self, step: str, tool: str, *program: str | Path) -> None:
        if self.args.emulated:
            self.run.step(step, self.python(*program), note="without compute-sanitizer: emulated")
        elif shutil.which("compute-sanitizer"):
            options = ["--tool", tool, "--error-exitcode", "99", "--log-file", str(self.files[step])]
            command = ["compute-sanitizer", *options, *self.python(*program)]
            self.run.step(step, command, CUDA_LAUNCH_BLOCKING="1" if step == "device_memcheck" else "0")
        else:
            self.run.note(step, "failed", "compute-sanitizer is missing")

    def bench_cuda(self) -> None:
        if self.native is None or not self.native.is_file():
            self.run.note("bench_cuda", "failed", f"there is no {self.native or 'bench_cuda beside the wheel'}")
            return
        if not self.wants("bench_cuda", "cv2"):
            return
        # What it has printed when its seconds are over is kept, which needs a few of them.
        seconds = max(1.0, self.run.limit("bench_cuda") - 8)
        effort = ["--rounds", "5", "--native-seconds", f"{seconds:.0f}"]
        self.gpu("bench_cuda", "native", options=["--native", self.native, *effort])

    def gpu(self, step: str, *parts: str, options: Sequence[str | Path]) -> None:
        """bench/gpu.py, some of its parts."""
        command = [
            ROOT / "bench" / "gpu.py",
            *self.photographs(),
            "--parts",
            *parts,
            *options,
            "--json",
            self.files[step],
        ]
        self.run.step(step, self.python(*command, *(["--brief"] if self.args.emulated else [])))

    def photographs(self) -> list[Path]:
        return [self.args.photographs] if self.args.photographs else []

    def tests(self) -> None:
        if not self.wants("tests", "pytest", "PIL"):
            return
        first = ROOT / "tests" / "test_cuda.py"
        others = sorted((ROOT / "tests").glob("test_*.py"))
        which = [first, *(path for path in others if path != first and not path.name.startswith("test_train"))]
        options = [*PYTEST, f"--junitxml={self.files['tests']}", "-c", str(ROOT / "pyproject.toml")]
        if self.args.emulated:  # CI runs all of test_cuda.py on the emulator, elsewhere
            self.run.step("tests", self.python("-m", "pytest", *options, first, "-k", "spawned or memory_of"))
            return
        # The oracle, on the CPU, takes most of the time; more processes would only wait for the GPU.
        parallel = ["-n", "6"] if self.has("xdist") else []
        self.run.step("tests", self.python("-m", "pytest", *options, *parallel, *which, "-k", TESTS))

    def kernels(self) -> None:
        if not self.wants("kernels", "cv2"):
            return
        photographs = str(self.args.photographs or "")
        if self.args.emulated:
            command = self.python(HERE / "inspected.py", photographs, "brief")
            self.run.step("kernels", command, note="without ncu: emulated")
        elif shutil.which("ncu"):
            seconds = f"{max(1.0, self.run.limit('kernels') - 2):.0f}"
            self.run.step("kernels", self.python(HERE / "ncu_kernels.py", photographs, seconds, self.files["kernels"]))
        else:
            self.run.note("kernels", "left out", "ncu is missing")

    def all_steps(self) -> None:
        if self.args.wheels and (wheels := sorted(self.args.wheels.glob("*.whl"))):
            self.install("wheels", *wheels)
        if not self.package():
            return
        self.device()
        self.bench_cuda()
        self.tests()
        self.kernels()
        self.sanitize("memcheck", "memcheck", HERE / "every_kernel.py", PICTURE)
        if self.wants("gpu", "cv2"):
            effort = ["--agreement-seconds", "25", "--growth-seconds", "10", "--limit", "200", "--python-rounds", "5"]
            self.gpu("gpu", "agreement", "bits", "memory", "python", "fast", options=effort)
        if self.args.emulated:
            self.run.note("racecheck", "left out", "it is NVIDIA's, for a GPU")
        else:
            self.sanitize("racecheck", "racecheck", HERE / "every_kernel.py", PICTURE)


def describe_machine(args: argparse.Namespace) -> None:
    print(f"{os.cpu_count()} processors; photographs: {args.photographs or 'where bench/photographs.py looks'}")
    if args.emulated:
        print("EMULATED: no GPU is asked, and no figure below means anything.")
    else:
        print(said("nvidia-smi") or "nvidia-smi is missing, or fails")
    for tool in (sys.executable, "nvcc", "cmake", "ninja", "c++", "compute-sanitizer", "ncu"):
        version = re.search(r".*\d+\.\d+.*", said(tool, "--version") or "")
        print(f"{tool}: {version[0].strip() if version else 'missing'}")


def shorten(path: Path, most: int = LARGEST_FILE) -> None:
    """Leaves the first and last half of `most` bytes of a longer file."""
    size = path.stat().st_size if path.is_file() else 0
    if size <= most:
        return
    cut = f"\n... {size - most} bytes are cut out here ...\n".encode()
    half = most // 2 - len(cut)
    content = path.read_bytes()
    path.write_bytes(content[:half] + cut + content[-half:])


def main(argv: list[str] | None = None) -> int:
    start = time.monotonic()
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, str(HERE / "hold_context.py")], stdin=subprocess.PIPE, start_new_session=True
    ):
        card = "emulator" if args.emulated else query("name") or "gpu"
        slug = re.sub(r"[^a-z0-9]+", "-", card.removeprefix("NVIDIA ").lower()).strip("-")
        name = f"{datetime.date.today().isoformat()}-{slug}-cuda"
        log = args.out / f"{name}.log"
        # From here on this program's output, and that of the programs it starts, goes into the log as well.
        with subprocess.Popen(["tee", str(log)], stdin=subprocess.PIPE) as tee:
            assert tee.stdin is not None
            outputs = [os.dup(number) for number in (1, 2)]
            sys.stdout.flush()
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)  # in order with what the other programs print
            for number in (1, 2):
                os.dup2(tee.stdin.fileno(), number)
            try:
                status = checked(args, name, start)
            finally:
                sys.stdout.flush()
                for number, output in zip((1, 2), outputs, strict=True):
                    os.dup2(output, number)
                    os.close(output)
        for path in args.out.glob(f"{name}*"):
            shorten(path)
    return status


def checked(args: argparse.Namespace, name: str, start: float) -> int:
    """All steps and the page. start: of the budget. Returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        site = work / "site"
        environment = dict(os.environ)
        environment |= {"LC_ALL": "C", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment.pop("MTCNN_FAST_CUDA_LIBRARY", None)
        if args.photographs:
            environment["MTCNN_FAST_TEST_DATA"] = str(args.photographs)
        # In a folder of its own: among the sources, Python would find a package without its core.
        run = Run(args.seconds, work, environment, start)
        describe_machine(args)
        checker = Checker(args, run, name, site)
        for path in checker.files.values():
            path.unlink(missing_ok=True)  # of a run before, on the same day
        checker.all_steps()
        title = name + (": EMULATED. This was not run on a GPU, and no figure means anything." if args.emulated else "")
        try:
            text = page(title, run, checker.files)
        except Exception:  # a page that cannot be made must not take the results along
            text = f"{title}\n{traceback.format_exc()}"
        (args.out / f"{name}-page.txt").write_text(text)
        print(f"\n{text}")
        failures, unfinished = run.failures(), run.unfinished()
        print("clean" if not failures else "NOT CLEAN: " + ", ".join(outcome.step for outcome in failures))
        if unfinished:
            print("not finished: " + ", ".join(outcome.step for outcome in unfinished))
        return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
