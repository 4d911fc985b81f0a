import pytest

from pictures import write_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of three classes with twelve tiny pictures each; not to be written to."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))
