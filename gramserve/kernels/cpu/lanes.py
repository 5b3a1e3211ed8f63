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
from numba.extending import intrinsic, overload, register_model

VECTOR_BYTES = 64


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


def _arithmetic(name):
    @intrinsic
    def operate(_, left, right):
        def generate(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments, flags=("contract",))

        return left(left, right), generate

    return operate


@intrinsic
def _spread(_, like, scalar):
    def generate(context, builder, signature, arguments):
        number = context.cast(builder, arguments[1], signature.args[1], like.scalar)
        return _broadcast(builder, _vector(context, like), number)

    return like(like, scalar), generate


def _teach(symbol, operate):
    def resolve(left, right):
        if isinstance(left, Lanes) and isinstance(right, Lanes):
            return lambda left, right: operate(left, right)
        if isinstance(left, Lanes) and isinstance(right, types.Number):
            return lambda left, right: operate(left, _spread(left, right))
        if isinstance(right, Lanes) and isinstance(left, types.Number):
            return lambda left, right: operate(_spread(right, left), right)
        return None

    overload(symbol)(resolve)


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _teach(_symbol, _arithmetic(_name))


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


def _choice(comparison):
    @intrinsic
    def choose(_, left, right, yes, no):
        def generate(context, builder, signature, arguments):
            chosen = builder.fcmp_ordered(comparison, arguments[0], arguments[1])
            return builder.select(chosen, arguments[2], arguments[3])

        return yes(left, right, yes, no), generate

    return choose


where_less = _choice("<")
