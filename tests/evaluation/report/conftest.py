import pytest

from reported_runs import make_run, make_split


@pytest.fixture
def run_of_sets(tmp_path):
    split = make_split(("cat", "cat|dog", "", "dog"), groups=False)
    data = {"classes": ["cat", "dog"], "target": "multi_label"}
    return make_run(tmp_path, images=split, data=data), split
