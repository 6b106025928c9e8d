"""Machine code made at run time for the processor at hand: no compiler, no binary in the wheel.

A kernel is written in LLVM's intermediate representation (`_vector_ir`) and compiled here into a
function of integers. This needs the optional library llvmlite; without it, or on a processor of
another kind, `instruction_set` is None and callers use their plain torch form.

Code is made for a level of an architecture rather than for a model of processor, so that all
processors of a level give the same bits. What was compiled before a fork may be called after it:
LLVM starts no threads, and the code is plain memory.
"""

import ctypes
import functools
import importlib.util
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from model_zoo._errors import UnsupportedInputError

FLOAT_BYTES: Final = 4
CHOICE: Final = "MODEL_ZOO_NATIVE"  # environment variable: the one level allowed, or "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionSet:
    """A level of a processor architecture, and what code for it may use.

    Attributes:
        triple: LLVM's name of the architecture.
        cpu: LLVM's name of the level.
        features: LLVM's names of what a processor must have.
        num_lanes: float32 values in a vector.
        num_registers: Vectors held at once.
        has_half: Whether it converts float16 in registers.
        has_scale: Whether one instruction multiplies by 2^n, exactly at all magnitudes.
    """

    name: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    num_lanes: int
    num_registers: int
    has_half: bool = True
    has_scale: bool = False

    @property
    def vector_bytes(self) -> int:
        """Of a vector of float32."""
        return self.num_lanes * FLOAT_BYTES


INSTRUCTION_SETS: Final = (
    InstructionSet(
        name="avx512",
        triple="x86_64",
        cpu="x86-64-v4",
        features=("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
        num_lanes=16,
        num_registers=32,
        has_scale=True,
    ),
    InstructionSet(
        name="avx2",
        triple="x86_64",
        cpu="x86-64-v3",
        features=("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
        num_lanes=8,
        num_registers=16,
    ),
    InstructionSet(
        name="sse2",
        triple="x86_64",
        cpu="x86-64",
        features=("sse2",),
        num_lanes=4,
        num_registers=16,
        has_half=False,
    ),
    InstructionSet(
        name="neon",
        triple="aarch64",
        cpu="generic",
        features=("neon",),
        num_lanes=4,
        num_registers=32,
    ),
)
ARCHITECTURES: Final = {"AMD64": "x86_64", "arm64": "aarch64"}  # other names of the same


def instruction_set() -> InstructionSet | None:
    """The best level that the processor has and the environment allows, or None.

    `MODEL_ZOO_NATIVE` may name the one level to be used, or be ``off``.

    Raises:
        UnsupportedInputError: It is neither.
    """
    chosen = os.environ.get(CHOICE, "")
    known = ("", "off", *(level.name for level in INSTRUCTION_SETS))
    if chosen not in known:
        allowed = ", ".join(known[1:])
        raise UnsupportedInputError(f"{CHOICE} must be one of {allowed}, got: {chosen}")
    for level in available_instruction_sets():
        if chosen in ("", level.name):
            return level
    return None


@functools.cache
def available_instruction_sets() -> tuple[InstructionSet, ...]:
    """What code can be made and run for, the best first; nothing without llvmlite."""
    if importlib.util.find_spec("llvmlite") is None:
        return ()
    from llvmlite import binding

    machine = platform.machine()
    architecture = ARCHITECTURES.get(machine, machine)
    host = binding.get_host_cpu_features()
    return tuple(
        level
        for level in INSTRUCTION_SETS
        if level.triple == architecture and all(host.get(name, False) for name in level.features)
    )


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """A compiled function of 64-bit integers, addresses among them, that returns nothing.

    Python's lock is free while it runs.
    """

    call: Callable[..., None]
    engine: Any  # owns the code


def compile_kernel(function: Any, level: InstructionSet) -> NativeKernel:
    """Compile `function`, an `llvmlite.ir.Function`, and whatever else its module holds."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(cpu=level.cpu, opt=2, jit=True)
    engine = binding.create_mcjit_compiler(parse(function), machine)
    engine.finalize_object()
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(function.args))
    return NativeKernel(prototype(engine.get_function_address(function.name)), engine)


def assembly(function: Any, level: InstructionSet) -> str:
    """What `compile_kernel` would make of `function`, also for a processor that is not here."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(f"{level.triple}-unknown-linux-gnu")
    machine = target.create_target_machine(cpu=level.cpu, opt=2)
    return str(machine.emit_assembly(parse(function)))


def parse(function: Any) -> Any:
    """The module of `function` as LLVM holds it, checked."""
    from llvmlite import binding

    module = binding.parse_assembly(str(function.module))
    module.verify()
    return module
