import pytest

from pictures import write_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of three classes with twelve tiny pictures each; not to be written to."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """A cache for this test alone: what one test computed must not spare another the work, nor fill the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "fitwell"
