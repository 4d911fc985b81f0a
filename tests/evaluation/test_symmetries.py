import pytest
import torch

from fitwell.evaluation.symmetries import averaged

CORNERS = torch.tensor([[1.0, 2.0], [4.0, 8.0]]).expand(1, 3, 2, 2)


def upper_left(images):
    return images[:, :1, 0, 0]


def upper_row(images):
    return images[:, :1, 0].sum(dim=-1)


@pytest.mark.parametrize(
    ("symmetries", "corner", "row"),
    [
        ("none", 1, 3),
        ("horizontal", (1 + 2) / 2, 3),
        ("vertical", (1 + 4) / 2, (3 + 12) / 2),
        ("both", 15 / 4, (3 + 12) / 2),
        ("dihedral", 15 / 4, (3 + 12 + 5 + 10) / 4),
    ],
)
def test_the_mean_is_over_every_copy_once(symmetries, corner, row):
    assert averaged(upper_left, symmetries)(CORNERS).item() == pytest.approx(corner)
    assert averaged(upper_row, symmetries)(CORNERS).item() == pytest.approx(row)


def test_an_average_over_all_symmetries_does_not_change_when_the_picture_is_turned():
    generator = torch.Generator().manual_seed(0)
    images, weights = torch.rand(2, 3, 4, 4, generator=generator), torch.rand(48, 5, generator=generator)
    extract = averaged(lambda batch: batch.flatten(1) @ weights, "dihedral")
    torch.testing.assert_close(extract(images.rot90(1, (2, 3))), extract(images))


def test_every_copy_is_contiguous_as_engines_need_it():
    layouts = []
    averaged(lambda images: layouts.append(images.is_contiguous()) or images, "dihedral")(CORNERS)
    assert layouts == [True] * 8
