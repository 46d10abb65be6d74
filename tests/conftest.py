"""What every test runs under: no silent broadcasting, x64 off, one of four virtual CPU devices unless a test asks."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4".strip()

# Programs of tests run for milliseconds and take seconds to compile.
os.environ["XLA_FLAGS"] += " --xla_llvm_disable_expensive_passes=true"

import hypothesis
import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_enable_x64", False)
jax.config.update("jax_default_device", jax.local_devices()[0])
hypothesis.settings.register_profile("jaxopt_intro", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("jaxopt_intro")


@pytest.fixture(autouse=True, scope="session")
def no_figures_of_this_machine(tmp_path_factory):
    """What was measured before must not decide how a test's convolutions are computed."""
    with pytest.MonkeyPatch.context() as patch:
        if "JAXOPT_INTRO_CACHE" not in os.environ:
            patch.setenv("JAXOPT_INTRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def x64():
    """Turns on 64-bit types for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def all_devices():
    """Lets one test use all virtual devices."""
    with jax.default_device(None):
        yield


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Compiled programs are kept on disk, so that equal ones are compiled once for all tests."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.getbasetemp() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
