"""Models of a registry by name."""

import pytest

from cluster.mistake import UserError
from pipelines.tracking.reference import Reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("digits@candidate", Reference("digits", alias="candidate")),
        ("digits/3", Reference("digits", version=3)),
        ("models:/my digits@a-b", Reference("my digits", alias="a-b")),
        ("models:/my model/12", Reference("my model", version=12)),
    ],
)
def test_a_version_is_named_as_mlflow_names_it(text: str, reference: Reference) -> None:
    assert Reference.of_version(text) == reference


@pytest.mark.parametrize("text", ["", "a@", "@a", "a/b", "a/0", "/3", "a/newest", "a@b/1", "a:b"])
def test_what_names_no_model_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"write MODEL@ALIAS \(digits@champion\) or MODEL/VERSION"):
        Reference.of(text)


def test_a_model_as_a_whole_is_no_version() -> None:
    assert Reference.of("digits") == Reference("digits")
    with pytest.raises(UserError, match="Which version of digits\\? Write digits@ALIAS or digits/VERSION"):
        Reference.of_version("digits")
