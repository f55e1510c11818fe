"""The parameters of params.py as rclpy is told of them."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from cldyn_ros.param_spec import Spec
from cldyn_ros.params import FIELDS, NodeParams, parse


def declare(node: Node) -> NodeParams:
    """Declare every parameter on the node and return their start values. Raises ParameterError."""
    values = {}
    for name, f in FIELDS.items():
        spec: Spec = f.metadata["spec"]
        descriptor = ParameterDescriptor(
            description=spec.doc,
            additional_constraints=f"one of: {', '.join(spec.choices)}" if spec.choices else "",
            read_only=spec.fixed,
            dynamic_typing=True,  # `parse` checks the type: it takes 20 for 20.0 and its reasons are better
        )
        if spec.low is not None and spec.high is not None:
            if isinstance(f.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high))]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=spec.low, to_value=spec.high)]
        default = list(f.default) if isinstance(f.default, tuple) else f.default
        values[name] = node.declare_parameter(name, default, descriptor).value
        if default == [] and values[name] is None:  # an empty list comes out of a parameter file without type and value
            values[name] = default
            node.set_parameters([Parameter(name, value=default)])
    return parse(values)
