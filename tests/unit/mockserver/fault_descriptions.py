"""Makes descriptions of faults from the schemas that the control API publishes, right ones and wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mockserver.control.openapi import document
from mockserver.faults.kinds import KINDS, Fault

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Json = dict[str, Any]

COMPONENTS: Json = document()["components"]["schemas"]
VALIDATOR = Draft202012Validator(
    {
        "oneOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in KINDS],
        "components": {"schemas": COMPONENTS},
    }
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# No whole numbers as floats: to JSON Schema 1.0 is an integer, to the server it is none.
FRACTIONS = st.integers(-(10**9), 10**9).map(lambda number: number + 0.5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | FRACTIONS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
PATTERNS = {
    r"^[A-Za-z0-9_.-]{1,64}(?!\s)$": r"[A-Za-z0-9_.-]{1,64}",
    r"^([0-9a-fA-F]{2} *)*(?!\s)$": r"([0-9a-f]{2} ?){0,9}",
    r"^[ -~]*(?!\s)$": r"[!-~]{0,20}",
    r"^[/*?[]": r"[/*?[][a-z/*]{0,9}",
}


def of_schema(schema: Json) -> SearchStrategy[Any]:  # noqa: PLR0911 - a case for each form
    """Values that fit a schema, its alternatives at the top aside."""
    if "$ref" in schema:
        return of_schema(COMPONENTS[schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "type" not in schema and "anyOf" in schema:
        return st.one_of([of_schema(each) for each in schema["anyOf"]])
    kind = schema["type"]
    if kind == "object":
        return _objects(schema)
    if kind == "string":
        if "pattern" in schema:
            return st.from_regex(PATTERNS[schema["pattern"]], fullmatch=True)
        return TEXT.filter(lambda text: len(text) <= schema.get("maxLength", 1000))
    if kind == "integer":
        return st.integers(schema.get("minimum"), schema.get("maximum"))
    if kind == "number":
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        return st.floats(
            low,
            high,
            allow_nan=False,
            allow_infinity=False,
            exclude_min="exclusiveMinimum" in schema,
            exclude_max="exclusiveMaximum" in schema,
        )
    return {"null": st.none(), "boolean": st.booleans()}[kind]


def _objects(schema: Json) -> SearchStrategy[Json]:
    properties = schema.get("properties")
    if properties is None:
        return st.dictionaries(TEXT, ANYTHING, max_size=3)
    required = {name: of_schema(properties[name]) for name in schema.get("required", ())}
    optional = {name: of_schema(value) for name, value in properties.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


def descriptions(kinds: tuple[type[Fault], ...] = KINDS) -> SearchStrategy[Json]:
    """Descriptions of faults of these kinds whose every field is right."""
    return st.sampled_from(kinds).flatmap(lambda kind: of_schema(COMPONENTS[kind.__name__]))


@st.composite
def mutations(draw: st.DrawFn) -> Any:
    """Descriptions in which something may be wrong: a field more, or less, or with another value, also further down."""
    description = draw(descriptions())
    _mutate(draw, description)
    nested = [value for value in description.values() if isinstance(value, dict)]
    if nested and draw(st.booleans()):
        _mutate(draw, draw(st.sampled_from(nested)))
    return description


def _mutate(draw: st.DrawFn, description: Json) -> None:
    names = sorted(description) or ["x"]
    how = draw(st.sampled_from(["leave", "remove", "replace", "add"]))
    name = draw(st.sampled_from(names))
    if how == "remove":
        description.pop(name, None)
    elif how == "replace":
        description[name] = draw(ANYTHING)
    elif how == "add":
        description[draw(TEXT | st.sampled_from(["node", "who", "when", "times", "seconds"]))] = draw(ANYTHING)
