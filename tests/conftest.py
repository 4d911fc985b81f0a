import shutil

import pytest

import fitwell
from fitted_runs import SETTINGS
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


@pytest.fixture(scope="session")
def fitted(pictures, tmp_path_factory):
    """A small classifier, trained once; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return fitwell.Classifier(runs_dir=tmp_path_factory.mktemp("runs"), settings=SETTINGS).fit(pictures)


@pytest.fixture
def own_copy(fitted, tmp_path):
    """A finished run that a test may change."""
    return fitwell.load(shutil.copytree(fitted.run.path, tmp_path / fitted.run.id))
