"""Pictures of a terminal: letters stand where the terminal had them, and those of the README are small and whole."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pyte

from tests.pictures.__main__ import LARGEST_BYTES, README, faults
from tests.pictures.svg import WIDE, picture

ROOT = Path(__file__).resolve().parents[3]


def drawn(said: str, columns: int = 20) -> list[tuple[str, float, dict[str, str]]]:
    """Texts with their columns, counted from the first letter of the line above them."""
    screen = pyte.Screen(columns, 2)
    pyte.Stream(screen).feed(said)
    root = ElementTree.fromstring(picture(screen, "a command", 1))  # noqa: S314 -- our own
    title, *texts = root.iter("{http://www.w3.org/2000/svg}text")
    start = float(title.attrib["x"])
    return [(text.text or "", round((float(text.attrib["x"]) - start) / WIDE, 1), dict(text.attrib)) for text in texts]


def test_words_stand_in_their_columns_also_behind_wide_letters() -> None:
    said = [(text, column) for text, column, _ in drawn("界界  two   \x1b[32mthree\x1b[0m")]
    assert [text.strip() for text, _ in said] == ["界界", "two", "three"]
    assert [column for _, column in said] == [0.0, 6.0, 12.0]


def test_styles_are_kept_and_signs_of_xml_are_text() -> None:
    [(text, _, bold)] = drawn("\x1b[1m<b>&\x1b[0m")
    assert (text, bold["font-weight"]) == ("<b>&", "bold")
    [(text, _, plain), (_, _, green)] = drawn("x \x1b[32my\x1b[0m")
    assert "fill" not in plain
    assert green["fill"] == "#8fce8f"


class _Wrote:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw


def test_a_line_that_is_too_wide_and_a_control_character_are_found() -> None:
    assert faults(_Wrote("\x1b[32m界界界界\x1b[0m\r\n".encode()), 8) == []
    assert len(faults(_Wrote("界界界界x\r\n".encode()), 8)) == 1
    assert len(faults(_Wrote(b"a\x1b[2Jb\r\n"), 8)) == 1
    assert len(faults(_Wrote("a\x9bb\r\n".encode()), 8)) == 1


def test_the_pictures_of_the_readme_are_there_small_and_need_nothing_from_elsewhere() -> None:
    shown = re.findall(r"!\[[^]]+\]\(docs/pictures/(\w+)\.svg\)", (ROOT / "README.md").read_text())
    assert sorted(shown) == sorted(README)
    for name in shown:
        said = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text()
        assert len(said.encode()) <= LARGEST_BYTES
        assert "href" not in said
        assert "url(" not in said
        ElementTree.fromstring(said)  # noqa: S314 -- our own
