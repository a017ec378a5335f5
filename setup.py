"""Build the extension ``fastlstm._core`` from ``fastlstm/_core.pyx`` and ``csrc/``. Everything else: pyproject.toml.

Switches, as environment variables:
    FASTLSTM_NO_OPENMP=1                   build without OpenMP (one thread)
    FASTLSTM_WERROR=1                      turn warnings in csrc/ into errors (not those in Cython's code)
    FASTLSTM_SANITIZE=address,undefined    build with these sanitizers, little optimised
    FASTLSTM_COVERAGE=1                    record line coverage of csrc/ for gcov, little optimised
    FASTLSTM_DEBUG=1                       unoptimised, with debugger information and assertions
    FASTLSTM_EXACT_FMA=1                   portable kernels that round as the others do, for tests: very slow

All files are compiled with the same flags: each instruction set is switched on in its source (csrc/isa/), and chosen
when the package is loaded.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError, PlatformError

KERNELS = sorted(glob("csrc/*.c") + glob("csrc/threads/*.c") + glob("csrc/isa/*.c"))
HEADERS = sorted(glob("csrc/**/*.h", recursive=True))

NO_COMPILER = (
    "fastlstm: no working C compiler (tried: {command}); install one and try again "
    "(Debian and Ubuntu: apt install gcc python3-dev; Fedora: dnf install gcc python3-devel; "
    "macOS: xcode-select --install; Windows: Visual Studio Build Tools 2022 with 'Desktop development with C++')"
)
NO_HEADERS = (
    "fastlstm: the headers of Python {version} (Python.h) are missing; install them and try again "
    "(Debian and Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)"
)
NO_OPENMP = (
    "fastlstm: the compiler has no OpenMP; building a single-threaded package "
    "(Debian: apt install libomp-dev; macOS: brew install libomp)"
)

C_MAIN = "int main(void) { return 0; }\n"
C_PYTHON = "#include <Python.h>\n" + C_MAIN
C_OPENMP = """#include <omp.h>
int main(void)
{
    int sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < 8; i++) sum += omp_get_max_threads();
    return sum == 0;
}
"""


def switch(name: str) -> bool:
    """Return whether an environment variable is set, and neither empty nor 0."""
    return os.environ.get(name, "") not in ("", "0")


class BuildExt(build_ext):
    """Check the compiler, choose the flags, compile the kernels in parallel."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # setuptools compares only the times of files, and would keep objects that were made with other switches.
        self.force = True

    def build_extensions(self) -> None:
        # Imported late: metadata and the sdist need neither.
        import numpy
        from Cython.Build import cythonize

        self.msvc = self.compiler.compiler_type == "msvc"
        self.check_compiler()
        compile_args, link_args = self.flags()
        openmp_compile, openmp_link = self.openmp_flags()

        (extension,) = self.extensions
        extension.sources = cythonize(
            [Extension(extension.name, extension.sources)],
            build_dir=self.build_temp,
            force=True,
        )[0].sources
        extension.include_dirs = ["csrc", numpy.get_include()]
        extension.define_macros = [
            ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_1_23_API_VERSION"),  # the oldest NumPy of pyproject.toml
        ]
        # The generated file only checks arguments: -O3 makes it larger, and nothing faster.
        extension.extra_compile_args = smaller(compile_args)
        extension.extra_link_args = link_args + openmp_link
        extension.extra_objects = self.compile_kernels(compile_args, openmp_compile)
        super().build_extensions()

    def check_compiler(self) -> None:
        """Stop with one line that says what to install if nothing can be built."""
        if not self.works(C_MAIN):
            command = os.environ.get("CC") or " ".join(getattr(self.compiler, "compiler", [])[:1]) or "cl.exe"
            raise PlatformError(NO_COMPILER.format(command=command))
        if not self.works(C_PYTHON, link=False):
            raise PlatformError(NO_HEADERS.format(version="{}.{}".format(*sys.version_info)))

    def flags(self) -> tuple[list[str], list[str]]:
        """Return the compiler's and the linker's flags, without OpenMP."""
        debug, coverage = switch("FASTLSTM_DEBUG"), switch("FASTLSTM_COVERAGE")
        if self.msvc:
            # The second is for stdatomic.h, which needs Visual Studio 2022 17.5 or later.
            args = ["/std:c11", "/experimental:c11atomics"]
            return args + (["/Od", "/Zi", "/UNDEBUG"] if debug else ["/O2"]), []
        # No -march=native, no -ffast-math: the package must run, and give equal numbers, on other machines.
        sanitizers = os.environ.get("FASTLSTM_SANITIZE")
        level = "-O0" if debug else "-O1" if coverage or sanitizers else "-O3"
        compile_args = [level, "-std=c11", "-fvisibility=hidden", "-ffp-contract=off"]
        compile_args += ["-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"]
        link_args = []
        if switch("FASTLSTM_EXACT_FMA"):
            compile_args += ["-DFL_EXACT_FMA"]
        if debug:
            compile_args += ["-g3", "-UNDEBUG"]
        if coverage:
            compile_args += ["-g", "--coverage", "-fprofile-update=atomic"]
            link_args += ["--coverage"]
        if sanitizers:
            # Reports show only names and lines; the rest of the debugging information doubles the compile time.
            compile_args += ["-g1", f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer"]
            link_args += [f"-fsanitize={sanitizers}"]
        if not (debug or coverage or sanitizers or "-g" in os.environ.get("CFLAGS", "")):
            link_args += ["-Wl,-s"] if sys.platform == "linux" else []  # no table of local symbols
            compile_args += ["-g0"]  # Python's flags may have -g, for 5.9 MB instead of 0.8 and a slower build
        return compile_args, link_args

    def openmp_flags(self) -> tuple[list[str], list[str]]:
        """Return the compiler's and the linker's flags for OpenMP, or those for a build without it."""
        without = ["/wd4068"] if self.msvc else ["-Wno-unknown-pragmas"]
        if switch("FASTLSTM_NO_OPENMP"):
            return without, []
        candidates = [(["/openmp"], [])] if self.msvc else [(["-fopenmp"], ["-fopenmp"])]
        if sys.platform == "darwin":  # Apple's clang lacks the library, which Homebrew has
            for prefix in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"):
                args = ["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"]
                candidates.append((args, [f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lomp"]))
        for args, link in candidates:
            if self.works(C_OPENMP, args, link):
                return args, link
        print(NO_OPENMP, file=sys.stderr)
        return without, []

    def works(self, code: str, args: Sequence[str] = (), link_args: Sequence[str] = (), link: bool = True) -> bool:
        """Return whether the compiler compiles (and links) a program, without running it."""
        with tempfile.TemporaryDirectory() as folder, quiet(folder):
            source = Path(folder, "probe.c")
            source.write_text(code)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=list(args))
                if link:
                    program = str(Path(folder, "probe"))
                    self.compiler.link_executable(objects, program, extra_postargs=list(link_args))
            except (CompileError, LinkError, PlatformError, OSError):
                return False
        return True

    def compile_kernels(self, compile_args: list[str], openmp_compile: list[str]) -> list[str]:
        """Compile csrc/ and return its object files.

        They are compiled separately from the generated file, so that warnings can be errors here only, and several
        at a time, since the vector kernels take most of the time. Each object file keeps the folder of its source. Only
        csrc/threads/ uses OpenMP; with its flags the other objects are the same, and a cache of compiled files, such as
        that of .ci/run, could not take them from a build with OpenMP for one without.
        """
        args = list(compile_args)
        if switch("FASTLSTM_WERROR"):
            args.append("/WX" if self.msvc else "-Werror")

        def compile_one(source: str) -> list[str]:
            # The portable kernels serve processors that are slow in any case, and those of doubles are for tests of
            # gradients more than for speed: -O3 makes them 0 to 5 % faster, and a quarter larger.
            own = smaller(args) if "portable" in source or "f64" in source else list(args)
            if Path(source).parent.name == "threads":
                own += openmp_compile
            if "-g0" in args and "isa" in source:
                own += ["-fno-asynchronous-unwind-tables"]  # nothing unwinds through kernels but debuggers
            return self.compiler.compile(
                [source], output_dir=self.build_temp, include_dirs=["csrc"], extra_postargs=own
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [name for names in pool.map(compile_one, KERNELS) for name in names]


def smaller(args: list[str]) -> list[str]:
    """Return the compiler's flags with -O2 in place of -O3."""
    return ["-O2" if arg == "-O3" else arg for arg in args]


@contextlib.contextmanager
def quiet(folder: str) -> Iterator[None]:
    """Send what a compiler prints to a file in ``folder``, since a probe may fail."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with open(Path(folder, "log"), "wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)


setup(
    ext_modules=[
        Extension("fastlstm._core", ["fastlstm/_core.pyx"], depends=KERNELS + HEADERS + sorted(glob("fastlstm/*.px?")))
    ],
    cmdclass={"build_ext": BuildExt},
)
