"""Where the paper's tables and figures stand: the page of this book that shows each, and the runs behind it."""

import re

#: Every table and figure: the page that shows it, and the targets whose runs stand behind it.
PLACES = {
    **{f"Table {n}": ("section3_setup", (f"table{n}",)) for n in (1, 2)},
    **{f"Table {n}": ("section5_1_cifar100", (f"table{n}",)) for n in (3, 4, 5, 6)},
    **{f"Table {n}": ("section5_2_imagenet", (f"table{n}",)) for n in (7, 8, 9)},
    "Table 10": ("section5_2_imagenet", ()),
    **{f"Table {n}": ("section5_2_imagenet", (f"table{n}",)) for n in (11, 12)},
    **{f"Table {n}": ("section5_3_transfer", (f"table{n}",)) for n in (13, 14, 15)},
    "Figure 1": ("section1_introduction", ()),
    "Figure 2": ("section1_introduction", ("figure10",)),
    "Figure 3": ("section3_setup", ()),
    **{f"Figure {n}": ("section4_deepcorrect", (f"figure{n}",)) for n in (4, 5)},
    "Figure 6": ("section5_2_imagenet", ("figure6",)),
    **{f"Figure {n}": ("section4_deepcorrect", ()) for n in (7, 8)},
    "Figure 9": ("section5_1_cifar100", ("figure9",)),
    "Figure 10": ("section1_introduction", ("figure10",)),
    **{f"Figure {n}": ("section5_2_imagenet", (f"figure{n}",)) for n in (11, 12)},
}


def places(words: str) -> set[str]:
    """The tables and figures in a claim's place: "Section 5.2.3; Tables 10 to 12" names three."""
    named = set()
    for kind, first, link, last in re.findall(r"(Table|Figure)s? (\d+)(?: (to|and) (\d+))?", words):
        numbers = range(int(first), int(last) + 1) if link == "to" else filter(None, (first, last))
        named |= {f"{kind} {number}" for number in numbers}
    return named
