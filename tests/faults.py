"""Eighty ways to spoil a labelled set of images, each with the code that must be found, and the clean set itself.

Each fault takes the folder of a clean copy, spoils it, and returns what to check: the folder or a table.
"""

import csv
import os
import shutil
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

PER_CLASS = 24
SIDE = 48
CLASSES = ("cat", "dog")


def write_clean(folder: Path) -> Path:
    """Two classes of smooth random pictures with the colours of photographs, none like another."""
    random = np.random.default_rng(0)
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
        for number in range(PER_CLASS):
            save(picture(random), folder / label / f"{number:02}.png")
    return folder


def picture(random, side=SIDE) -> Image.Image:
    coarse = random.normal(0, 1, (6, 6, 3)) * 0.6 + random.normal(0, 1, (6, 6, 1)) * 0.8
    mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = np.clip((mean + spread * coarse) * 255, 0, 255).astype(np.uint8)
    smooth = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    grain = random.normal(0, 6, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def fresh(seed=99, side=SIDE):
    return picture(np.random.default_rng(seed), side)


def save(image, path, **options):
    image.save(path, **options)
    return path


def write_table(folder: Path, change=lambda rows: rows, **extra) -> Path:
    """A table over the clean set; `extra` columns are functions of the row number, `change` edits the rows."""
    rows = [
        {"path": path.relative_to(folder).as_posix(), "label": path.parent.name}
        for path in sorted(folder.rglob("*.png"))
    ]
    rows = [{**row, **{name: of(number) for name, of in extra.items()}} for number, row in enumerate(rows)]
    rows = change(rows)
    table = folder / "labels.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return table


def put(name, content):
    def plant(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        return folder

    return plant


def put_picture(name, make, **options):
    def plant(folder):
        save(make(), folder / name, **options)
        return folder

    return plant


def cut(name, share, **options):
    def plant(folder):
        path = save(fresh(side=96), folder / name, **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return folder

    return plant


def drop_end(name, num_bytes, instead=b""):
    def plant(folder):
        path = save(fresh(), folder / name)
        path.write_bytes(path.read_bytes()[:-num_bytes] + instead)
        return folder

    return plant


def flip_bit(folder):
    path = save(fresh(), folder / "cat" / "flipped.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    return folder


def bomb(side):
    """A valid grey PNG of side x side zeros in a few kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def plant(folder):
        squeezer = zlib.compressobj(9)
        data = b"".join([squeezer.compress(bytes(side // 8 + 1)) for _ in range(side)]) + squeezer.flush()
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        (folder / "cat" / "bomb.png").write_bytes(png)
        return folder

    return plant


def numbers(kind, top):
    return lambda: Image.fromarray(np.linspace(0, top, SIDE * SIDE).reshape(SIDE, SIDE).astype(kind))


def pipe(folder):
    os.mkfifo(folder / "cat" / "pipe.png")
    return folder


def open_socket(folder):
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder / "cat")  # the address of a socket must be short
        try:
            listener.bind("socket.png")
        finally:
            os.chdir(here)
    return folder


def link(name, target):
    def plant(folder):
        (folder / name).symlink_to(target)
        return folder

    return plant


def link_out(folder):
    outside = save(fresh(), folder.parent / f"{folder.name}-outside.png")
    (folder / "cat" / "out.png").symlink_to(outside)
    return folder


def not_utf8(folder):
    with open(os.fsencode(folder) + b"/cat/\xff.png", "wb") as file:  # noqa: PTH123 - no text can name it
        fresh().save(file, "PNG")
    return folder


def named(name):
    def plant(folder):
        with (folder / "cat" / name).open("wb") as file:
            fresh().save(file, "PNG")
        return folder

    return plant


def frames(name, **options):
    def plant(folder):
        save(fresh(1), folder / name, save_all=True, append_images=[fresh(2), fresh(3)], **options)
        return folder

    return plant


def with_transparency():
    image = fresh().convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.arange(SIDE, dtype=np.uint8) * 5, (SIDE, 1))))
    return image


def turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(fresh(), folder / "cat" / "turned.jpg", exif=exif)
    return folder


def case_twins(folder):
    save(fresh(1), folder / "cat" / "twin.png")
    save(fresh(2), folder / "cat" / "Twin.png")
    return folder


def empty_class(folder):
    (folder / "bird").mkdir()
    return folder


def split_beside_classes(folder):
    (folder / "train" / "cat").mkdir(parents=True)
    save(fresh(), folder / "train" / "cat" / "1.png")
    return folder


def one_class(folder):
    shutil.rmtree(folder / "dog")
    return folder


def text_table(content):
    def plant(folder):
        (folder / "labels.csv").write_text(content)
        return folder / "labels.csv"

    return plant


def cell(column, value, row=3):
    """A table in which one cell is `value`."""

    def change(rows):
        rows[row] = {**rows[row], column: value}
        return rows

    return lambda folder: write_table(folder, change)


def extra_column(name, of):
    return lambda folder: write_table(folder, **{name: of})


def with_rows(change):
    return lambda folder: write_table(folder, change)


def windows_path(folder):
    return write_table(folder, lambda rows: [{**rows[0], "path": rows[0]["path"].replace("/", "\\")}, *rows[1:]])


def relabelled(label, number=2):
    """Some rows of a class get a label of their own."""
    return with_rows(
        lambda rows: [{**row, "label": label} if index < number else row for index, row in enumerate(rows)]
    )


def copied(folder):
    shutil.copy(folder / "cat" / "00.png", folder / "cat" / "copy.png")
    return folder


def saved_again(folder):
    save(Image.open(folder / "cat" / "00.png"), folder / "cat" / "again.bmp")
    return folder


def shrunk(folder):
    image = fresh(side=200)
    save(image, folder / "cat" / "large.png")
    save(image.resize((120, 120), Image.Resampling.LANCZOS), folder / "cat" / "small.png")
    return folder


def two_labels(folder):
    shutil.copy(folder / "cat" / "00.png", folder / "dog" / "also.png")
    return folder


def parts(number):
    """A given split in which every class is everywhere."""
    return ("train", "train", "val", "test")[number % 4]


def leaking(make):
    """A given split with a further picture in train and, changed by `make`, in test."""

    def plant(folder):
        image = fresh(side=200)
        save(image, folder / "cat" / "a.png")
        save(make(image), folder / "cat" / "b.png")
        by_name = {"a": "train", "b": "test"}

        def change(rows):
            return [{**row, "split": by_name.get(Path(row["path"]).stem, row["split"])} for row in rows]

        return write_table(folder, change, split=parts)

    return plant


def in_bursts(folder):
    """Both classes come in bursts of six pictures of one scene, in file order."""
    random = np.random.default_rng(5)
    for label in CLASSES:
        for number in range(60):
            if number % 6 == 0:
                scene = np.asarray(picture(random), dtype=float)
            view = 0.65 * scene + 0.35 * np.asarray(picture(random), dtype=float)
            save(Image.fromarray(view.astype(np.uint8)), folder / label / f"burst{number:02}.png")
    return folder


def more_cats(folder):
    random = np.random.default_rng(7)
    for number in range(150):
        save(picture(random), folder / "cat" / f"more{number:03}.png")
    return folder


def missing_in(part):
    """A given split without dogs in one part."""

    def change(rows):
        return [{**row, "split": "train"} if (row["label"], row["split"]) == ("dog", part) else row for row in rows]

    return lambda folder: write_table(folder, change, split=parts)


def uneven(folder):
    """Four groups: cats and dogs cannot be divided alike."""

    def change(rows):
        for row in rows:
            number = int(Path(row["path"]).stem)
            row["group"] = ("a", "a", "b", "c")[number % 4] if row["label"] == "cat" else "abc"[min(number, 2)]
        return rows

    return write_table(folder, change)


def pale(folder):
    for path in folder.rglob("*.png"):
        pixels = np.asarray(Image.open(path), dtype=float)
        save(Image.fromarray((235 + pixels / 16).astype(np.uint8)), path)
    return folder


def tiny(folder):
    for number in range(6):
        save(fresh(number, side=20), folder / "cat" / f"tiny{number}.png")
    return folder


def wide(folder):
    for number in range(6):
        save(fresh(number, side=200).crop((0, 0, 200, 50)), folder / "cat" / f"wide{number}.png")
    return folder


def dogs_are_jpegs(folder):
    for path in (folder / "dog").glob("*.png"):
        save(Image.open(path), path.with_suffix(".jpg"), quality=95)
        path.unlink()
    return folder


def nearly_uniform():
    pixels = np.full((SIDE, SIDE, 3), 120, dtype=np.uint8)
    pixels[::7, ::5] = 122
    return Image.fromarray(pixels)


def dicom(patient):
    def plant(folder):
        import pydicom
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

        image = pydicom.Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = SecondaryCaptureImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = generate_uid()
        image.PatientID, image.PatientName, image.Modality = patient, "Doe^Jane", "OT"
        image.Rows = image.Columns = SIDE
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
        image.PixelData = np.asarray(fresh().convert("L")).tobytes()
        image.save_as(folder / "cat" / "scan.dcm", enforce_file_format=True)
        return folder

    return plant


# name -> (code, fault)
FAULTS = {
    "empty file": ("DATA101", put("cat/empty.png", b"")),
    "text named jpg": ("DATA102", put("cat/text.jpg", b"hello, this is no picture\n" * 9)),
    "web page named png": ("DATA102", put("cat/page.png", b"<!doctype html><title>404</title>" * 9)),
    "vector drawing named png": ("DATA102", put("cat/vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
    "postscript named png": ("DATA102", put("cat/script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")),
    "document named jpg": ("DATA102", put("cat/document.jpg", b"%PDF-1.7\n" + bytes(99))),
    "half a jpeg": ("DATA103", cut("cat/half.jpg", 0.5)),
    "half a png": ("DATA103", cut("cat/half.png", 0.5)),
    "half a tiff": ("DATA103", cut("cat/half.tif", 0.6)),
    "flipped bit in a png": ("DATA104", flip_bit),
    "bomb of 400 megapixels": ("DATA105", bomb(20_000)),
    "bomb of 100 megapixels": ("DATA105", bomb(10_000)),
    "floating point beyond one": ("DATA106", put_picture("cat/float.tif", numbers(np.float32, 7.5))),
    "integers beyond 16 bits": ("DATA106", put_picture("cat/long.tif", numbers(np.int32, 1e6))),
    "pipe": ("DATA107", pipe),
    "socket": ("DATA107", open_socket),
    "dangling link": ("DATA108", link("cat/gone.png", "nowhere.png")),
    "row without its file": ("DATA108", cell("path", "cat/missing.png")),
    "link out": ("DATA111", link_out),
    "link to a device": ("DATA107", link("cat/zero.png", "/dev/zero")),
    "link to a folder outside": ("DATA111", link("cat/away", "/usr/lib")),
    "link in a circle": ("DATA112", link("cat/circle.png", "circle.png")),
    "name that is not utf-8": ("DATA113", not_utf8),
    "png without its end": ("DATA114", drop_end("cat/open.png", 12)),
    "jpeg without its end": ("DATA114", drop_end("cat/open.jpg", 2, bytes(100))),
    "png named jpg": ("DATA115", put_picture("cat/lie.jpg", fresh, format="PNG")),
    "animation": ("DATA116", frames("cat/moving.gif")),
    "pages": ("DATA116", frames("cat/pages.tif")),
    "16-bit grey": ("DATA117", put_picture("cat/deep.png", numbers(np.uint16, 65535))),
    "print colours": ("DATA118", put_picture("cat/print.jpg", lambda: fresh().convert("CMYK"))),
    "palette": ("DATA119", put_picture("cat/palette.png", lambda: fresh().quantize(64))),
    "transparency": ("DATA120", put_picture("cat/clear.png", with_transparency)),
    "turned by exif": ("DATA121", turned),
    "newline in a name": ("DATA122", named("a\nb.png")),
    "right-to-left name": ("DATA122", named("a\u202egnp.png")),
    "markup in a name": ("DATA122", named("<script>alert(1)<script>.png")),
    "leading dash": ("DATA122", named("-rf.png")),
    "linked folder": ("DATA123", link("cat/more", "../dog")),
    "text among the images": ("DATA124", put("cat/notes.txt", b"seen on Monday")),
    "names that differ by case": ("DATA125", case_twins),
    "no class folder": ("DATA201", lambda folder: [shutil.rmtree(folder / name) for name in CLASSES] and folder),
    "class without images": ("DATA202", empty_class),
    "loose image": ("DATA203", put_picture("loose.png", fresh)),
    "split beside classes": ("DATA204", split_beside_classes),
    "one class": ("DATA205", one_class),
    "ragged table": ("DATA206", text_table("path,label\ncat/00.png,cat,extra\n")),
    "binary table": ("DATA206", lambda folder: put("labels.csv", b"\xff\xd8\xff\x00")(folder) / "labels.csv"),
    "missing column": ("DATA207", text_table("file,class\ncat/00.png,cat\n")),
    "blank label": ("DATA208", cell("label", " ")),
    "blank group": ("DATA208", lambda folder: write_table(folder, group=lambda number: "" if number == 3 else number)),
    "climbing path": ("DATA209", cell("path", "../../etc/passwd")),
    "absolute path": ("DATA209", cell("path", "/etc/passwd")),
    "address as path": ("DATA209", cell("path", "file:///etc/passwd")),
    "windows drive": ("DATA209", cell("path", "C:\\cats\\1.png")),
    "windows separators": ("DATA210", windows_path),
    "unknown split": ("DATA211", extra_column("split", lambda number: "dev" if number == 5 else parts(number))),
    "weight in words": ("DATA212", extra_column("weight", lambda number: "heavy" if number == 5 else 1)),
    "negative weight": ("DATA212", extra_column("weight", lambda number: -1 if number == 5 else 1)),
    "repeated row": ("DATA213", with_rows(lambda rows: [*rows, rows[0]])),
    "one image with two labels": ("DATA214", with_rows(lambda rows: [*rows, {**rows[0], "label": "dog"}])),
    "formula as label": ("DATA215", relabelled("=HYPERLINK(1)", 12)),
    "labels that differ by case": ("DATA216", relabelled("Cat", 12)),
    "label with a blank at its end": ("DATA216", relabelled("cat ", 12)),
    "copied file": ("DATA301", copied),
    "same pixels saved again": ("DATA302", saved_again),
    "shrunk copy": ("DATA303", shrunk),
    "one picture in two classes": ("DATA304", two_labels),
    "group on both sides": ("DATA401", lambda folder: write_table(folder, split=parts, group=lambda n: f"g{n // 3}")),
    "same pixels on both sides": ("DATA402", leaking(lambda image: image)),
    "near-duplicate on both sides": ("DATA403", leaking(lambda image: image.resize((150, 150)))),
    "bursts in file order": ("DATA404", in_bursts),
    "imbalance": ("DATA501", more_cats),
    "class of two images": ("DATA502", relabelled("rare", 2)),
    "class missing from val": ("DATA503", missing_in("val")),
    "shares that cannot be even": ("DATA504", uneven),
    "class of twelve images": ("DATA505", relabelled("kitten", 12)),
    "class missing from test": ("DATA506", missing_in("test")),
    "blank image": ("DATA601", put_picture("cat/blank.png", lambda: Image.new("RGB", (SIDE, SIDE), (90, 120, 60)))),
    "nearly uniform image": ("DATA602", put_picture("cat/dull.png", nearly_uniform)),
    "pale colours": ("DATA603", pale),
    "small images": ("DATA604", tiny),
    "wide images": ("DATA605", wide),
    "format that tells the class": ("DATA606", dogs_are_jpegs),
    "dicom": ("DATA801", dicom("P-17")),
    "patient": ("DATA802", dicom("P-17")),
}
