"""What is checked of one node and of one input value: types, links, numbers, options, files. Pure."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.graph import is_link

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockserver.comfyui.catalog import NodeClass
    from mockserver.comfyui.profile import Profile

Json = dict[str, Any]

SLIPS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a prompt that is built wrongly raises. The real server reports these in the node's errors."""

_LONGEST_SHOWN_LIST = 20


def error(type_: str, message: str, details: str = "", **extra_info: Any) -> Json:
    """An error as the answer carries it."""
    return {"type": type_, "message": message, "details": details, "extra_info": extra_info}


@dataclass
class Verdict:
    """Whether a node can run, and its own errors. A node behind a bad one is bad without errors of its own."""

    good: bool
    errors: list[Json] = field(default_factory=list)


@dataclass(frozen=True)
class Link:
    """A link that has the right form and type: the node behind it must be checked next."""

    input_name: str
    config: list[Any]
    value: list[Any]

    @property
    def node(self) -> str:
        """The node that it leads to."""
        node: str = self.value[0]
        return node


@dataclass(frozen=True)
class FileCheck:
    """A class's own check of an input that names a file. Such an input is not checked against its options."""

    input_name: str
    message: str
    function: str


FILE_CHECKS = {
    "LoadAudio": FileCheck("audio", "Invalid audio file: {}", "LoadAudio.VALIDATE_INPUTS"),
    "LoadImage": FileCheck("image", "Invalid image file: {}", "LoadImage.VALIDATE_INPUTS"),
    "LoadImageMask": FileCheck("image", "Invalid image file: {}", "LoadImageMask.VALIDATE_INPUTS"),
    "LoadImageOutput": FileCheck("image", "Invalid image file: {}", "LoadImage.VALIDATE_INPUTS"),
    "LoadLatent": FileCheck("latent", "Invalid latent file: {}", "LoadLatent.VALIDATE_INPUTS"),
    "LoadVideo": FileCheck("file", "Invalid video file: {}", "LoadVideo.validate_inputs"),
    "WebcamCapture": FileCheck("image", "Invalid image file: {}", "LoadImage.VALIDATE_INPUTS"),
}
"""Classes that check a file name themselves (ComfyUI 0.3.64: LoadImage recorded, the others read)."""

_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


class NodeCheck:
    """The check of one node. It converts the node's values in place, as the real server does."""

    def __init__(
        self,
        prompt: Json,
        node: str,
        class_of: Callable[[str], NodeClass],
        file_exists: Callable[[Any], bool],
        profile: Profile,
    ) -> None:
        self._prompt = prompt
        self._node = node
        self._class_of = class_of
        self._file_exists = file_exists
        self._profile = profile

    def steps(self) -> Generator[Link, bool, Verdict]:
        """Yields each link, takes whether what is behind it is good, and returns the verdict. Raises ``SLIPS``."""
        inputs = self._prompt[self._node]["inputs"]
        node_class = self._class_of(self._node)
        errors: list[Json] = []
        upstream_is_good = True
        for name in node_class.inputs:
            type_, options = _type_and_options(node_class, name)
            if name not in inputs:
                if name in node_class.required_inputs:
                    errors.append(error("required_input_missing", "Required input is missing", name, input_name=name))
            elif isinstance(inputs[name], list):
                problem = self._link_error(name, type_, options, inputs[name])
                if problem is not None:
                    errors.append(problem)
                else:
                    good = yield Link(name, [type_, options], inputs[name])
                    upstream_is_good = good and upstream_is_good
            else:
                problem = self._value_error(node_class, name, type_, options, inputs)
                if problem is not None:
                    errors.append(problem)
        errors += self._file_errors(node_class.name, inputs)
        return Verdict(upstream_is_good and not errors, errors)

    def _link_error(self, name: str, type_: Any, options: Json, value: list[Any]) -> Json | None:
        about = {"input_name": name, "input_config": [type_, options]}
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return error("bad_linked_input", message, name, **about, received_value=value)
        self._prompt[value[0]]  # a node that is missing comes before one without outputs
        source = self._class_of(value[0])
        # Indexed as a tuple or a list is: negative slots count from the end, and the error's text names the kind.
        outputs: Any = source.outputs if source.is_v3 else tuple(source.outputs)
        received = outputs[value[1]]
        if types_match(received, type_):
            return None
        details = f"{name}, received_type({received}) mismatch input_type({type_})"
        message = "Return type mismatch between linked nodes"
        return error("return_type_mismatch", message, details, **about, received_type=received, linked_node=value)

    def _value_error(self, node_class: NodeClass, name: str, type_: Any, options: Json, inputs: Json) -> Json | None:
        about = {"input_name": name, "input_config": [type_, options]}
        value = inputs[name]
        try:
            if isinstance(value, dict) and "__value__" in value:
                value = inputs[name] = value["__value__"]
            if isinstance(type_, str) and type_ in _CONVERSIONS:
                value = inputs[name] = _CONVERSIONS[type_](value)
        except SLIPS as slip:
            message = f"Failed to convert an input value to a {type_} value"
            details = f"{name}, {value}, {slip}"
            about = {**about, "received_value": value, "exception_message": str(slip)}
            return error("invalid_input_type", message, details, **about)
        own_check = FILE_CHECKS.get(node_class.name)
        if own_check is not None and own_check.input_name == name:
            return None
        about["received_value"] = value
        if "min" in options and value < options["min"]:
            message = f"Value {value} smaller than min of {options['min']}"
            return error("value_smaller_than_min", message, name, **about)
        if "max" in options and value > options["max"]:
            message = f"Value {value} bigger than max of {options['max']}"
            return error("value_bigger_than_max", message, name, **about)
        return self._option_error(node_class, name, type_, options, value)

    def _option_error(self, node_class: NodeClass, name: str, type_: Any, options: Json, value: Any) -> Json | None:
        if isinstance(type_, list):
            allowed = type_
        elif type_ == "COMBO" and self._profile.checks_combos:
            allowed = options.get("options") or []
        else:
            return None
        several = self._profile.checks_combos and options.get("multiselect") and isinstance(value, list)
        bad = [each for each in (value if several else [value]) if each not in allowed]
        if not bad or node_class.takes_any_option(name, allowed):
            return None
        shown = ", ".join(map(repr, bad)) if self._profile.checks_combos else f"'{value}'"
        is_long = len(allowed) > _LONGEST_SHOWN_LIST
        return error(
            "value_not_in_list",
            "Value not in list",
            f"{name}: {shown} not in {f'(list of length {len(allowed)})' if is_long else allowed}",
            input_name=name,
            input_config=None if is_long else [type_, options],
            received_value=value,
        )

    def _file_errors(self, class_name: str, inputs: Json) -> list[Json]:
        """Errors of the class's own check. It fails with an exception where its input is missing, as in Python."""
        check = FILE_CHECKS.get(class_name)
        if check is None:
            return []
        name = check.input_name
        if name not in inputs:
            raise TypeError(f"{check.function}() missing 1 required positional argument: '{name}'")
        file = None if is_link(inputs[name]) else inputs[name]
        if self._file_exists(file):
            return []
        details = f"{name} - {check.message.format(file)}"
        return [error("custom_validation_failed", "Custom validation failed for node", details, input_name=name)]


def types_match(received: Any, expected: Any) -> bool:
    """Whether an output of one type may be linked to an input of another. Types may be unions with commas."""
    if not isinstance(received, str) or not isinstance(expected, str):
        return bool(received == expected) or "*" in (received, expected)
    offered, wanted = ({part.strip() for part in types.split(",")} for types in (received, expected))
    return "*" in offered | wanted or bool(offered & wanted)


def outer_exception(slip: Exception) -> Json:
    """The error of an output node whose check failed."""
    return error("exception_during_validation", "Exception when validating node", str(slip), **_facts(slip))


def inner_exception(slip: Exception, link: Link) -> Json:
    """The error of a node whose check failed, reached by this link."""
    return error(
        "exception_during_inner_validation",
        "Exception when validating inner node",
        str(slip),
        input_name=link.input_name,
        input_config=link.config,
        exception_message=str(slip),
        **_facts(slip),
        linked_node=link.value,
    )


def _facts(slip: Exception) -> Json:
    return {"exception_type": type(slip).__name__, "traceback": traceback.format_tb(slip.__traceback__)}


def _type_and_options(node_class: NodeClass, name: str) -> tuple[Any, Json]:
    type_, *rest = node_class.input_config(name)
    return type_, rest[0] if rest else {}
