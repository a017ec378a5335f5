import io
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastlstm as fl
from fastlstm import _core
from fastlstm.runtime import config
from fastlstm.runtime import openmp as _openmp

needs_openmp = pytest.mark.skipif(not _core.openmp(), reason="built without OpenMP")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Start every test like a new process, without thread settings."""
    monkeypatch.delenv("FASTLSTM_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(config, "_chosen", None)
    monkeypatch.setattr(_core, "openmp_max_threads", lambda: config._OPENMP_THREADS_AT_IMPORT)
    config._default_threads.cache_clear()
    yield
    config._default_threads.cache_clear()


# --- the order in which the number of threads is decided


@needs_openmp
def test_order(monkeypatch):
    monkeypatch.setattr(config, "_usable_cpus", lambda: 11)
    assert fl.get_num_threads() == 11

    config._default_threads.cache_clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert fl.get_num_threads() == 7

    config._default_threads.cache_clear()
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "5")
    assert fl.get_num_threads() == 5

    fl.set_num_threads(3)
    assert fl.get_num_threads() == 3
    assert config.resolve_threads(None) == 3
    assert config.resolve_threads(2) == 2
    assert fl.get_num_threads() == 3

    fl.set_num_threads(None)
    assert fl.get_num_threads() == 5


@needs_openmp
def test_environment_is_read_once(monkeypatch):
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "5")
    assert fl.get_num_threads() == 5
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "6")
    assert fl.get_num_threads() == 5


def test_without_openmp_one_thread(monkeypatch):
    monkeypatch.setattr(_core, "openmp", lambda: False)
    fl.set_num_threads(3)
    assert fl.get_num_threads() == 1
    assert config.resolve_threads(4) == 1
    assert config.config()["threads_source"] == "built without OpenMP"
    with pytest.raises(ValueError, match="n_threads is 0"):
        config.resolve_threads(0)


@needs_openmp
def test_limit_set_in_the_process(monkeypatch):
    """threadpoolctl lowers OpenMP's own limit for a while."""
    monkeypatch.setattr(config, "_OPENMP_THREADS_AT_IMPORT", 8)
    monkeypatch.setattr(_core, "openmp_max_threads", lambda: 2)
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "4")
    assert fl.get_num_threads() == 2
    assert "limit" in config.config()["threads_source"]
    fl.set_num_threads(3)
    assert fl.get_num_threads() == 2
    fl.set_num_threads(1)
    assert fl.get_num_threads() == 1
    assert config.resolve_threads(5) == 5  # requested explicitly
    fl.set_num_threads(3)
    monkeypatch.setattr(_core, "openmp_max_threads", lambda: 8)
    assert fl.get_num_threads() == 3


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="needs fork")
def test_a_runtime_that_starts_anew_in_a_child_gets_the_limit_again(monkeypatch):
    """LLVM's runtime starts anew with the settings of the environment. test_threads.py tests real forks."""
    hooks, limits, waits = {}, [3], []

    def max_threads():
        waits.append("KMP_BLOCKTIME" in os.environ)
        return limits[-1]

    with monkeypatch.context() as patch:
        patch.delenv("OMP_WAIT_POLICY", raising=False)
        patch.setattr(os, "register_at_fork", lambda **given: hooks.update(given))
        _openmp.keep_in_children(max_threads, limits.append)
        hooks["after_in_child"]()
        assert limits == [3] and waits == [True]  # nobody asked before the fork
        waits.clear()
        limits.append(2)
        hooks["before"]()
        hooks["after_in_child"]()
        assert limits == [3, 2] and waits == [False, True]  # nothing is forgotten, nothing needs to be repeated
        limits.append(3)
        hooks["after_in_child"]()
        assert limits == [3, 2, 3, 2] and "KMP_BLOCKTIME" not in os.environ


@needs_openmp
def test_omp_num_threads_is_no_limit_for_set_num_threads(monkeypatch):
    monkeypatch.setattr(config, "_OPENMP_THREADS_AT_IMPORT", 1)  # OpenMP itself reads OMP_NUM_THREADS=1
    monkeypatch.setattr(_core, "openmp_max_threads", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fl.set_num_threads(4)
    assert fl.get_num_threads() == 4


# --- values


@needs_openmp
@pytest.mark.parametrize("n", [1, 2, 1024, np.int64(3), np.uint8(4)])
def test_valid_counts(n):
    fl.set_num_threads(n)
    assert fl.get_num_threads() == n
    assert type(fl.get_num_threads()) is int
    assert config.resolve_threads(n) == n


@pytest.mark.parametrize("n", [0, -1, 1025, 2**70])
def test_counts_out_of_range(n):
    with pytest.raises(ValueError, match=f"n is {n}; expected an integer from 1 to 1024"):
        fl.set_num_threads(n)
    with pytest.raises(ValueError, match=f"n_threads is {n}; expected"):
        config.resolve_threads(n)
    assert config._chosen is None


@pytest.mark.parametrize("n", [1.0, "2", True, np.bool_(True), [1], np.float32(2), np.array([1, 2])])
def test_counts_of_another_type(n):
    with pytest.raises(TypeError, match="expected an integer from 1 to 1024, or None"):
        fl.set_num_threads(n)


@needs_openmp
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("FASTLSTM_NUM_THREADS", "3", 3),
        ("FASTLSTM_NUM_THREADS", " 3 ", 3),
        ("FASTLSTM_NUM_THREADS", "", 11),
        ("OMP_NUM_THREADS", "4", 4),
        ("OMP_NUM_THREADS", "4,2", 4),
        ("OMP_NUM_THREADS", " 4 , 2 ", 4),
        ("OMP_NUM_THREADS", " ", 11),
    ],
)
def test_environment_values(monkeypatch, name, text, expected):
    monkeypatch.setattr(config, "_usable_cpus", lambda: 11)
    monkeypatch.setenv(name, text)
    assert fl.get_num_threads() == expected


@pytest.mark.parametrize("name", ["FASTLSTM_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1025", "9" * 5000, "\u0663", ",2", "+1"])
def test_malformed_environment_is_named(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    for _ in range(2):  # not only the first call fails
        with pytest.raises(ValueError, match=f"environment variable {name}=.*expected a number of threads"):
            fl.get_num_threads()
    if _core.openmp():
        fl.set_num_threads(2)  # takes precedence over the environment
        assert fl.get_num_threads() == 2


def test_fastlstm_num_threads_takes_no_list(monkeypatch):
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "4,2")
    with pytest.raises(ValueError, match="FASTLSTM_NUM_THREADS"):
        fl.get_num_threads()


@needs_openmp
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("FASTLSTM_NUM_THREADS", "3", "3 FASTLSTM_NUM_THREADS"),
        ("OMP_NUM_THREADS", "2,1", "2 OMP_NUM_THREADS"),
    ],
)
def test_environment_of_a_new_process(tmp_path, name, text, expected):
    code = "from fastlstm.runtime.config import config; c = config(); print(c['threads'], c['threads_source'])"
    environment = {**os.environ, name: text}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


@needs_openmp
def test_all_python_threads_see_the_setting():
    fl.set_num_threads(3)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(fl.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [3]


# --- CPUs: affinity and container quota


def place(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "proc", root / "sys"


V2 = {"proc/cgroup": "0::/a/b\n"}
V1 = {"proc/cgroup": "9:name=systemd:/a\n4:cpu,cpuacct:/a/b\n3:cpuset:/a\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        # v2
        (V2 | {"sys/a/b/cpu.max": "150000 100000\n"}, 1.5),
        (V2 | {"sys/a/b/cpu.max": "max 100000\n"}, None),
        (V2 | {"sys/a/b/cpu.max": "max 100000\n", "sys/a/cpu.max": "200000 100000\n"}, 2.0),
        (V2 | {"sys/a/b/cpu.max": "300000 100000\n", "sys/a/cpu.max": "50000 100000\n"}, 0.5),
        (V2 | {"sys/a/b/cpu.max": "300000 100000\n", "sys/a/cpu.max": "400000 100000\n"}, 3.0),
        (V2 | {"sys/cpu.max": "250000 50000\n"}, 5.0),  # in a container that shows only its own root
        (V2 | {"sys/c/cpu.max": "100000 100000\n"}, None),  # of another group
        (V2 | {"sys/unified/a/cpu.max": "200000 100000\n"}, 2.0),
        ({"proc/cgroup": "0::/\n", "sys/cpu.max": "200000 100000\n"}, 2.0),
        ({"proc/cgroup": "0::/../..\n", "sys/cpu.max": "200000 100000\n", "cpu.max": "100000 100000\n"}, 2.0),
        # v1
        (
            V1
            | {
                "sys/cpu,cpuacct/a/b/cpu.cfs_quota_us": "150000",
                "sys/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
            },
            1.5,
        ),
        (V1 | {"sys/cpu/a/cpu.cfs_quota_us": "200000\n", "sys/cpu/a/cpu.cfs_period_us": "100000\n"}, 2.0),
        (V1 | {"sys/cpu/cpu.cfs_quota_us": "200000\n", "sys/cpu/cpu.cfs_period_us": "50000\n"}, 4.0),
        (V1 | {"sys/cpu/a/b/cpu.cfs_quota_us": "-1\n", "sys/cpu/a/b/cpu.cfs_period_us": "100000\n"}, None),
        (V1 | {"sys/cpuset/a/cpu.cfs_quota_us": "200000", "sys/cpuset/a/cpu.cfs_period_us": "100000"}, None),
        # nothing, or nothing readable
        ({}, None),
        ({"proc/cgroup": ""}, None),
        ({"proc/cgroup": "nonsense\n"}, None),
        (V2 | {"sys/a/b/cpu.max": ""}, None),
        (V2 | {"sys/a/b/cpu.max": "x y\n"}, None),
        (V2 | {"sys/a/b/cpu.max": "100000 0\n"}, None),
        (V2 | {"sys/a/b/cpu.max": "0 100000\n"}, None),
    ],
)
def test_cgroup_quota(tmp_path, files, quota):
    assert config._cgroup_quota(*place(tmp_path, files)) == quota


@pytest.mark.parametrize(("quota", "cpus"), [(None, 8), ("50000", 1), ("150000", 2), ("200000", 2), ("1600000", 8)])
def test_usable_cpus(tmp_path, monkeypatch, quota, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    files = V2 | ({"sys/a/b/cpu.max": f"{quota} 100000\n"} if quota else {})
    assert config._usable_cpus(*place(tmp_path, files)) == cpus


def test_usable_cpus_on_other_systems(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert config._usable_cpus(tmp_path, tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert config._usable_cpus(tmp_path, tmp_path) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")
def test_affinity_of_this_process():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert config._usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= config._usable_cpus() <= len(before)


# --- the report


def test_config():
    c = config.config()
    assert c["version"] == fl.__version__
    assert c["isa"] in c["available_isas"]
    assert "portable" in c["available_isas"]
    assert c["lanes"]["float32"] == 2 * c["lanes"]["float64"]
    assert c["threads"] == fl.get_num_threads()
    assert c["numpy"] == np.__version__


def test_show_config(capsys):
    fl.show_config()
    printed = capsys.readouterr().out
    file = io.StringIO()
    fl.show_config(file)
    assert file.getvalue() == printed
    names = [line[:16].rstrip() for line in printed.splitlines()]
    assert names == [
        "fastlstm",
        "instruction set",
        "vector width",
        "bfloat16",
        "OpenMP",
        "threads",
        "compiler",
        "numpy",
        "python",
        "platform",
    ]
    lines = dict(zip(names, (line[17:] for line in printed.splitlines()), strict=True))
    c = config.config()
    assert lines["fastlstm"] == fl.__version__
    assert lines["instruction set"] == f"{c['isa']} (available: {', '.join(c['available_isas'])})"
    assert lines["vector width"] == f"{c['lanes']['float32']} x float32, {c['lanes']['float64']} x float64"
    assert lines["threads"] == f"{c['threads']} ({c['threads_source']})"
    assert re.match(r"(gcc|clang|msvc)", lines["compiler"], re.IGNORECASE)


# --- what OpenMP's runtime is told


@needs_openmp
@pytest.mark.parametrize("chosen, expected", [(None, "10000"), ("77", "77")])
def test_openmp_waits_for_a_short_time_unless_told_otherwise(chosen, expected, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not re.match("OMP_|GOMP_|KMP_", k)}
    environment["OMP_DISPLAY_ENV"] = "VERBOSE"
    if chosen:
        environment["GOMP_SPINCOUNT"] = chosen
    code = "import os, fastlstm; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('KMP_BLOCKTIME'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [str(chosen), "None"]  # processes that this one starts do not inherit it
    seen = re.search(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)
    if not seen:
        pytest.skip("not GNU's OpenMP")
    assert seen[1] == expected


def test_a_team_that_sleeps_is_left_alone_for_small_work_and_the_bits_are_the_same():
    rng = np.random.default_rng(0)
    model = fl.Model([fl.LSTM(24, return_sequences=True), fl.Dense(3)], input_size=6, seed=0)
    x = rng.standard_normal((40, 30, 6)).astype("f4")
    expected = model.predict(x, n_threads=1)
    try:
        for always in (True, False):
            _core.always_wake(always)
            for pause in (0.0, 0.0, 0.002, 0.0):
                time.sleep(pause)
                np.testing.assert_array_equal(model.predict(x, n_threads=2), expected)
    finally:
        _core.always_wake(True)


@pytest.mark.parametrize("policy, expected", [("active", True), (" ACTIVE", True), ("passive", False), (None, False)])
def test_threads_that_never_sleep_on_request(monkeypatch, policy, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    assert _openmp.never_sleeps() is expected


@needs_openmp
def test_calls_at_the_same_time_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a call has been given its own number."""
    fl.set_num_threads(8)
    try:
        for calls, expected in ((1, 8), (2, 4), (3, 2), (8, 1), (20, 1)):
            monkeypatch.setattr(config._core, "calls_at_once", lambda calls=calls: calls)
            assert config.call_threads() == expected
            assert config.call_threads(6) == 6
            assert fl.get_num_threads() == 8
    finally:
        fl.set_num_threads(None)


def test_calls_are_counted() -> None:
    """A call in another thread is seen, and forgotten some time after its end."""
    model = fl.Model([fl.LSTM(64)], input_size=8).freeze()
    X, stop, seen = np.zeros((64, 400, 8), "f4"), threading.Event(), 1

    def work() -> None:
        while not stop.is_set():
            model.predict(X, n_threads=1)

    thread = threading.Thread(target=work)
    thread.start()
    while seen < 2:
        seen = config._core.calls_at_once()
    stop.set()
    thread.join()
    assert seen == 2
    while config._core.calls_at_once() > 1:
        pass
