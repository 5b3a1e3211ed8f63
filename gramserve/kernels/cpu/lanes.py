"""Vectors of 64 bytes for Numba: one item in each lane.

Loops over arrays leave it to the compiler whether it finds the vector form; these say it. A
:class:`Lanes` value is one LLVM vector, 16 float32 or 8 float64, which the compiler turns into
the registers of the machine: one of AVX-512, two of AVX2, four of NEON.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

VECTOR_BYTES = 64

JIT: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Called from compiled code alone.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""How everything here is compiled."""


class Lanes(types.Type):
    """The Numba type of a vector of one scalar type."""

    def __init__(self, scalar: Any) -> None:
        self.scalar = scalar
        self.count = VECTOR_BYTES * 8 // scalar.bitwidth
        super().__init__(name=f"Lanes({scalar})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        element = ir.FloatType() if lanes.scalar == types.float32 else ir.DoubleType()
        super().__init__(manager, lanes, ir.VectorType(element, lanes.count))


_LANES = {types.float32: Lanes(types.float32), types.float64: Lanes(types.float64)}


def _vector(context, lanes):
    return context.get_value_type(lanes)


def _broadcast(builder, vector, scalar):
    one = builder.insert_element(
        ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)


def _address(context, builder, signature, arguments, vector):
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    place = builder.gep(array.data, [arguments[1]])
    return builder.bitcast(place, vector.as_pointer())


@intrinsic
def load(_, array, index):
    """Return the vector that begins at an element of a flat array."""
    lanes = _LANES[array.dtype]

    def generate(context, builder, signature, arguments):
        vector = _vector(context, lanes)
        value = builder.load(_address(context, builder, signature, arguments, vector))
        value.align = array.dtype.bitwidth // 8
        return value

    return lanes(array, types.intp), generate


@intrinsic
def take(_, array, index):
    """Return the number at an index of a flat array in all lanes, or a row of a table of vectors.

    So one function serves one item against a group and every item of a group against itself.
    """
    lanes = _LANES[array.dtype]

    def generate(context, builder, signature, arguments):
        vector = _vector(context, lanes)
        place = arguments[1]
        if array.ndim == 2:
            place = builder.mul(place, ir.Constant(place.type, lanes.count))
            arguments = (arguments[0], place)
            value = builder.load(_address(context, builder, signature, arguments, vector))
            value.align = array.dtype.bitwidth // 8
            return value
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return _broadcast(builder, vector, builder.load(builder.gep(data, [place])))

    return lanes(array, types.intp), generate


@intrinsic
def store(_, array, index, value):
    """Write a vector to an element of a flat array and those after it."""

    def generate(context, builder, signature, arguments):
        vector = _vector(context, signature.args[2])
        written = builder.store(
            arguments[2], _address(context, builder, signature, arguments, vector)
        )
        written.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def fill(_, array, scalar):
    """Return a vector of one number in the dtype of an array."""
    lanes = _LANES[array.dtype]

    def generate(context, builder, signature, arguments):
        number = context.cast(builder, arguments[1], signature.args[1], lanes.scalar)
        return _broadcast(builder, _vector(context, lanes), number)

    return lanes(array, scalar), generate


@intrinsic
def spread(_, like, scalar):
    """Return a vector of one number, of the type of another vector."""

    def generate(context, builder, signature, arguments):
        number = context.cast(builder, arguments[1], signature.args[1], like.scalar)
        return _broadcast(builder, _vector(context, like), number)

    return like(like, scalar), generate


def _operate(symbol, name):
    """Teach an operator vectors, and vectors with numbers: in place, without a call."""

    @infer_global(symbol)
    class _Operation(AbstractTemplate):
        def generic(self, args, kws):
            left, right = args
            if isinstance(left, Lanes) and (left == right or isinstance(right, types.Number)):
                return signature(left, left, right)
            if isinstance(right, Lanes) and isinstance(left, types.Number):
                return signature(right, left, right)
            return None

    def generate(context, builder, signature, arguments):
        vector = _vector(context, signature.return_type)
        operands = [
            value
            if isinstance(kind, Lanes)
            else _broadcast(
                builder,
                vector,
                context.cast(builder, value, kind, signature.return_type.scalar),
            )
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        return getattr(builder, name)(*operands, flags=("contract",))

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(symbol, *kinds)(generate)


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operate(_symbol, _name)


def _llvm(name, builder, vector, count):
    suffix = f"v{vector.count}{'f32' if isinstance(vector.element, ir.FloatType) else 'f64'}"
    kind = ir.FunctionType(vector, [vector] * count)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{suffix}")


def _function(name):
    @intrinsic
    def apply(_, value):
        def generate(context, builder, signature, arguments):
            vector = _vector(context, signature.args[0])
            return builder.call(_llvm(name, builder, vector, 1), arguments)

        return value(value), generate

    return apply


root = _function("sqrt")
magnitude = _function("fabs")


@intrinsic
def multiply_add(_, factor, other, term):
    """Return ``factor other + term`` with one rounding."""

    def generate(context, builder, signature, arguments):
        vector = _vector(context, signature.args[0])
        return builder.call(_llvm("fma", builder, vector, 3), arguments)

    return factor(factor, other, term), generate


def polynomial(coefficients):
    """Return a function of vectors: one multiply-add per coefficient of their dtype.

    Parameters
    ----------
    coefficients : dict
        Numba scalar type to coefficients, the constant first.

    Returns
    -------
    callable
        For compiled code.
    """

    @intrinsic
    def apply(_, value):
        def generate(context, builder, signature, arguments):
            vector = _vector(context, signature.args[0])
            fma = _llvm("fma", builder, vector, 3)
            constants = [
                ir.Constant(vector, [float(number)] * vector.count)
                for number in coefficients[signature.args[0].scalar]
            ]
            total = constants[-1]
            for constant in constants[-2::-1]:
                total = builder.call(fma, [total, arguments[0], constant])
            return total

        return value(value), generate

    return apply


def _choice(comparison):
    @intrinsic
    def choose(_, left, right, yes, no):
        def generate(context, builder, signature, arguments):
            chosen = builder.fcmp_ordered(comparison, arguments[0], arguments[1])
            return builder.select(chosen, arguments[2], arguments[3])

        return yes(left, right, yes, no), generate

    return choose


where_less = _choice("<")


@intrinsic
def times_power_of_two(_, value, power):
    """Return ``value 2^k`` where the last bits of ``power`` are the integer ``k``.

    They are when ``power`` is ``k`` plus 1.5 times the first number whose neighbours are one
    apart: :data:`ROUNDER`.
    """

    def generate(context, builder, signature, arguments):
        vector = _vector(context, signature.args[0])
        bits = 32 if isinstance(vector.element, ir.FloatType) else 64
        integers = ir.VectorType(ir.IntType(bits), vector.count)
        shift = ir.Constant(integers, [23 if bits == 32 else 52] * vector.count)
        exponent = builder.shl(builder.bitcast(arguments[1], integers), shift)
        total = builder.add(builder.bitcast(arguments[0], integers), exponent)
        return builder.bitcast(total, vector)

    return value(value, power), generate


ROUNDER = {types.float32: 1.5 * 2**23, types.float64: 1.5 * 2**52}
"""A number that rounds what is added to it to an integer."""
