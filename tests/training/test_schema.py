from pathlib import Path

import pytest

from n2uq_jax.training import schema
from n2uq_jax.training.checks import leaves
from n2uq_jax.training.config import default_config

PAGE = Path(__file__).parents[2] / "docs/configuration.md"


def test_defaults_are_what_their_fields_may_hold():
    for field in (*schema.FIELDS, *schema.STAGE):
        assert field.fault(field.default) is None, field.name
        assert field.optional == (field.default is None), field.name


def test_every_field_of_a_configuration_is_in_the_list():
    for path, _ in leaves(default_config()):
        assert schema.field_of(path) is not None, path


@pytest.mark.parametrize("path", ["epochs", "quantized.epoch", "data.epochs", "a.b.epochs", "data"])
def test_what_is_no_field(path):
    assert schema.field_of(path) is None


def test_a_stage_has_any_name():
    assert schema.field_of("warmup.epochs").name == "epochs"


def test_the_page_of_the_documentation_is_made_of_the_list():
    start = PAGE.read_text().index("## The run")
    assert PAGE.read_text()[start:] == schema.page(), "run python docs/configuration.py"


def test_the_listing_and_the_names_are_complete():
    for field in (*schema.FIELDS, *schema.STAGE):
        assert field.name.rpartition(".")[2] in schema.names()
        assert f"{field.name} " in schema.listing()
        assert f"    {field.about}\n" in f"{schema.listing()}\n"
