"""The concept library: strict reading, and every rule of the check, on small libraries and on the shipped one."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from extract.checking import check, check_folder, require_sound
from extract.library import CONCEPTS, Concept, load_concept, load_library
from warehouse.errors import ConceptError

CONCEPT_TOML = """\
title = "Vitamins"
role = "medical"
description = "Vitamins."

[[labellings]]
name = "solubility"
kind = "categorical"
description = "What it dissolves in."
column = "soluble_in"

[labellings.answers]
"oil" = "fat"

[labellings.code]
column = "code"

[labellings.code.prefixes]
"oil" = ["A"]

[[labellings]]
name = "discovery"
kind = "ordinal"
description = "When it was found."
column = "era"
order_column = "era_order"
minimum_terms = 1

[[labellings]]
name = "year"
kind = "continuous"
description = "Year of discovery."
unit = "years"

[[templates]]
name = "neutral-shelf"
kind = "neutral"
text = "The pharmacist put the {term} on the shelf"

[[templates]]
name = "solubility-dissolves"
kind = "asking"
labelling = "solubility"
text = "Chemists know that {term} dissolves best in"
held_out = true
"""

TERMS_CSV = """\
term,soluble_in,code,era,era_order,year,source
retinol,oil,A1,early,1,1913,a textbook
phylloquinone,oil,A2,late,2,1929,a textbook
thiamine,water,B1,early,1,1910,a textbook
riboflavin,water,B2,late,2,1920.5,a textbook
"""

DOCS = Path(__file__).parent.parent / "docs" / "concepts.md"


def write_concept(folder: Path, toml: str = CONCEPT_TOML, terms: str = TERMS_CSV) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "concept.toml").write_text(toml, encoding="utf-8")
    (folder / "terms.csv").write_text(terms, encoding="utf-8")
    return folder


def swap(text: str, old: str, new: str) -> str:
    assert text.count(old) >= 1
    return text.replace(old, new, 1)


@pytest.fixture
def vitamins(tmp_path: Path) -> Path:
    return write_concept(tmp_path / "vitamins")


def test_a_concept_is_read_with_its_labels_answers_and_lines(vitamins: Path) -> None:
    concept = load_concept(vitamins)
    retinol, thiamine = concept.terms[0], concept.terms[2]
    solubility, discovery, year = concept.labellings
    assert (concept.name, concept.title, concept.role) == ("vitamins", "Vitamins", "medical")
    assert (retinol.name, retinol.spelling, retinol.variant, retinol.line) == ("retinol", "retinol", "", 2)
    assert (solubility.label(retinol), solubility.answer(retinol)) == ("oil", "fat")
    assert (solubility.label(thiamine), solubility.answer(thiamine)) == ("water", "water")
    assert (discovery.label(thiamine), discovery.ordinal(thiamine), discovery.number(thiamine)) == ("early", 1, None)
    assert (year.number(concept.terms[3]), year.ordinal(thiamine)) == (1920.5, None)
    assert [template.held_out for template in concept.templates] == [False, True]
    assert concept.asked == (solubility,)


def test_a_sound_concept_has_no_fault(vitamins: Path) -> None:
    assert check(load_library(vitamins.parent)) == []


def test_an_answer_column_gives_the_answers_and_an_empty_label_gives_none(tmp_path: Path) -> None:
    toml = swap(CONCEPT_TOML, '[labellings.answers]\n"oil" = "fat"\n', "")
    toml = swap(toml, 'column = "soluble_in"', 'column = "soluble_in"\nanswer_column = "code"')
    terms = swap(TERMS_CSV, "thiamine,water", "thiamine,")
    concept = load_concept(write_concept(tmp_path / "vitamins", toml, terms))
    answers = [concept.labelling("solubility").answer(term) for term in concept.terms]
    assert answers == ["A1", "A2", None, "B2"]


def test_a_byte_order_mark_and_windows_line_ends_are_read_past(tmp_path: Path) -> None:
    folder = write_concept(tmp_path / "vitamins")
    for name in ("concept.toml", "terms.csv"):
        content = (folder / name).read_bytes().replace(b"\n", b"\r\n")
        (folder / name).write_bytes(b"\xef\xbb\xbf" + content)
    concept = load_concept(folder)
    assert [term.name for term in concept.terms] == ["retinol", "phylloquinone", "thiamine", "riboflavin"]
    assert check(load_library(tmp_path)) == []


def test_lines_are_right_below_a_quoted_cell_that_spans_lines(tmp_path: Path) -> None:
    terms = swap(TERMS_CSV, "1913,a textbook", '1913,"a\ntextbook"')
    concept = load_concept(write_concept(tmp_path / "vitamins", terms=terms))
    assert [term.line for term in concept.terms] == [2, 4, 5, 6]


def test_the_fingerprint_follows_the_files_and_not_the_place(tmp_path: Path) -> None:
    first = load_concept(write_concept(tmp_path / "a" / "vitamins")).fingerprint
    second = load_concept(write_concept(tmp_path / "b" / "vitamins")).fingerprint
    other = load_concept(write_concept(tmp_path / "c" / "vitamins", terms=swap(TERMS_CSV, "1913", "1914"))).fingerprint
    assert first == second != other


def test_a_byte_that_moves_between_the_files_changes_the_fingerprint(tmp_path: Path) -> None:
    first = load_concept(write_concept(tmp_path / "a" / "vitamins", CONCEPT_TOML + "\n", TERMS_CSV))
    second = load_concept(write_concept(tmp_path / "b" / "vitamins", CONCEPT_TOML, "\n" + TERMS_CSV))
    assert first.fingerprint != second.fingerprint


def test_a_library_is_narrowed_by_name_in_its_own_order(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        write_concept(tmp_path / name)
    library = load_library(tmp_path)
    assert library.names == ("a", "b", "c")
    assert library.select(["c", "a", "c"]).names == ("a", "c")
    assert library.concept("b").name == "b"


@pytest.mark.parametrize("names", [["a", "drgus"], ["../a"], []])
def test_an_unknown_or_empty_choice_lists_the_known_concepts(tmp_path: Path, names: list[str]) -> None:
    write_concept(tmp_path / "a")
    write_concept(tmp_path / "b")
    with pytest.raises(ConceptError, match="are: a, b") as caught:
        load_library(tmp_path).select(names)
    assert all(name in str(caught.value) for name in names)


def test_hidden_folders_and_loose_files_are_no_concepts(vitamins: Path) -> None:
    (vitamins.parent / ".git").mkdir()
    (vitamins.parent / "__pycache__").mkdir()
    (vitamins.parent / "README.md").write_text("Notes.")
    assert load_library(vitamins.parent).names == ("vitamins",)


def test_a_folder_that_is_no_library_is_refused_with_the_remedy(tmp_path: Path, vitamins: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "is empty"),
        (vitamins / "terms.csv", "is a file"),
        (vitamins, f"Give the folder above it: {tmp_path}"),
    ):
        with pytest.raises(ConceptError, match=re.escape(words)) as caught:
            load_library(folder)
        assert str(caught.value).startswith(f"{folder}: ")


@pytest.mark.parametrize("name", ["Vitamins", "vita mins", "vitämine", "-%"])
def test_a_folder_whose_name_is_no_slug_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConceptError, match="Rename the folder"):
        load_concept(write_concept(tmp_path / name))


@pytest.mark.parametrize("name", ["concept.toml", "terms.csv"])
def test_a_missing_or_unreadable_file_is_named(vitamins: Path, name: str) -> None:
    (vitamins / name).unlink()
    with pytest.raises(ConceptError, match=rf"{name}: The file is missing"):
        load_concept(vitamins)
    (vitamins / name).mkdir()
    with pytest.raises(ConceptError, match=rf"{name}: The file can't be read"):
        load_concept(vitamins)


@pytest.mark.parametrize("name", ["concept.toml", "terms.csv"])
def test_text_that_is_not_utf8_is_refused_at_its_line(vitamins: Path, name: str) -> None:
    (vitamins / name).write_bytes(b"one\ntwo\n\xe4\n")
    with pytest.raises(ConceptError, match=rf"{name}:3: The text is not UTF-8"):
        load_concept(vitamins)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('title = "Vitamins"', 'title = "Vitamins', 1, "not TOML"),
        ('role = "medical"', 'role = "medical"\nrole = "control"', 3, "not TOML"),
        ("held_out = true\n", "held_out = [true,", 44, "not TOML"),
        ('title = "Vitamins"\n', "", 1, "title is missing"),
        ('title = "Vitamins"', 'title = " "', 1, "title is empty"),
        ('title = "Vitamins"', "title = 7", 1, "title must be a text, not 7"),
        ('role = "medical"', 'role = "both"', 2, "one of: medical, control"),
        ('role = "medical"', 'role = "medical"\ncolour = "red"', 3, "'colour' is not known"),
        ('kind = "categorical"', 'kind = "nominal"', 7, "one of: categorical, ordinal, continuous"),
        ('column = "soluble_in"', 'column = "soluble_in"\nminimum_terms = 0', 10, "Make it 1 or more"),
        ('column = "soluble_in"', 'column = "soluble_in"\nminimum_terms = 2.5', 10, "must be a whole number"),
        ('column = "soluble_in"', 'column = "soluble_in"\nminimum_terms = true', 10, "must be a whole number"),
        ('column = "soluble_in"', 'column = "soluble_in"\nminimum = 3', 10, "'minimum' is not known"),
        ('column = "soluble_in"', 'column = "soluble_in"\nunit = "mg"', 10, "has no unit"),
        ('column = "soluble_in"', 'column = "soluble_in"\norder_column = "era_order"', 10, "does not fit the kind"),
        ('column = "soluble_in"', 'column = "soluble_in"\nanswer_column = "code"', 12, "Keep one of the two"),
        ('"oil" = "fat"', '"oil" = 3', 12, "oil must be a text"),
        ('column = "code"', "", 14, "column is missing"),
        ('[labellings.code.prefixes]\n"oil" = ["A"]', "", 14, "prefixes are missing"),
        ('"oil" = ["A"]', '"oil" = "A"', 18, "must be a list"),
        ('"oil" = ["A"]', '"oil" = [1]', 18, "Make them a list of texts"),
        ('order_column = "era_order"\n', "", 20, "does not fit the kind"),
        ('name = "discovery"', 'name = "solubility"', 20, "two labellings 'solubility'"),
        ('name = "neutral-shelf"\n', "", 34, "name is missing"),
        ('kind = "neutral"', 'kind = "curious"', 36, "one of: neutral, asking"),
        ('kind = "neutral"', 'kind = "neutral"\nlabelling = "year"', 37, "a neutral template asks for no labelling"),
        ('labelling = "solubility"\n', "", 39, "names no labelling"),
        ('labelling = "solubility"\n', 'labelling = "taste"\n', 42, "no labelling 'taste'"),
        ("held_out = true", 'held_out = "yes"', 44, "true or false"),
        ("held_out = true", "held_out = true\nheldout = true", 45, "'heldout' is not known"),
    ],
)
def test_a_broken_concept_file_is_refused_at_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    folder = write_concept(tmp_path / "vitamins", swap(CONCEPT_TOML, old, new))
    with pytest.raises(ConceptError, match=re.escape(words)) as caught:
        load_concept(folder)
    assert str(caught.value).startswith(f"{folder / 'concept.toml'}:{line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('title = "A"\nrole = "control"\ndescription = "D"\ntemplates = []', "labellings is missing"),
        ('title = "A"\nrole = "control"\ndescription = "D"\nlabellings = [1]\ntemplates = []', "must be tables"),
        ('title = "A"\nlabellings = [{name = "x", kind = 1}]\ntemplates = []', "kind must be a text"),
        ("", "labellings is missing"),
        ("title = " + 5000 * "9", "This is not TOML"),
        ("title = " + 5000 * "[", "This is not TOML"),
    ],
)
def test_a_concept_file_in_an_odd_shape_is_refused(tmp_path: Path, toml: str, words: str) -> None:
    with pytest.raises(ConceptError, match=re.escape(words)):
        load_concept(write_concept(tmp_path / "vitamins", toml))


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("thiamine,water,B1,early,1,1910,a textbook", "thiamine,water,B1", 4, "has 3 cells and the header has 7"),
        ("1910,a textbook", "1910,a textbook,more", 4, "has 8 cells"),
        ("1910,a textbook", '1910,"a textbook', 4, "not CSV"),
        ("1910,a textbook", '1910,"a" textbook', 4, "not CSV"),
        ("term,", "name,", 1, "no column 'term'"),
        (",source", ",citation", 1, "no column 'source'"),
        (",code,", ",year,", 1, "stands twice"),
        (",code,", ",,", 1, "is empty"),
        ("soluble_in", "dissolves_in", 1, "no column 'soluble_in', which the labelling 'solubility' names"),
        (",era_order", ",order", 1, "no column 'era_order'"),
        ("1929", "about 1929", 3, "not a number"),
        ("1929", "nan", 3, "not a number"),
        ("1929", "1_929", 3, "not a number"),
        ("1929", "1e999", 3, "not a number"),
        ("late,2,1929", "late,second,1929", 3, "not a whole number"),
        ("late,2,1929", "late,,1929", 3, "not a whole number"),
        (TERMS_CSV.partition("\n")[2], "", 1, "no rows below the header"),
    ],
)
def test_a_broken_table_of_terms_is_refused_at_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    folder = write_concept(tmp_path / "vitamins", terms=swap(TERMS_CSV, old, new))
    with pytest.raises(ConceptError, match=re.escape(words)) as caught:
        load_concept(folder)
    assert str(caught.value).startswith(f"{folder / 'terms.csv'}:{line}: ")


def test_a_fault_stays_one_line_whatever_the_file_holds(tmp_path: Path) -> None:
    folder = write_concept(tmp_path / "vitamins", terms='term,"a\n\u001bb",source_\nx,y,z\n')
    with pytest.raises(ConceptError, match=r"a\\n\\x1bb") as caught:
        load_concept(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_table_of_terms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="The file is empty"):
        load_concept(write_concept(tmp_path / "vitamins", terms=""))


NEUTRAL_TEXT = "The pharmacist put the {term} on the shelf"
ASKING_TEXT = "Chemists know that {term} dissolves best in"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (NEUTRAL_TEXT, "The pharmacist was here", 34, "has 0 slots"),
        (NEUTRAL_TEXT, "The {term} and the {term} are here", 34, "has 2 slots"),
        (NEUTRAL_TEXT, "The {drug} is {term} here", 34, "or other braces"),
        (NEUTRAL_TEXT, "{term} is here", 34, "begins with the term"),
        (NEUTRAL_TEXT, "The {term} is here ", 34, "stray white space"),
        (NEUTRAL_TEXT, "The {term} is\u00a0here", 34, "stray white space"),
        (NEUTRAL_TEXT, "The {term} is full of Fat today", 34, "names 'fat'"),
        (NEUTRAL_TEXT, "The {term} is soluble in oil today", 34, "names 'oil'"),
        (NEUTRAL_TEXT, ASKING_TEXT, 39, "the same text"),
        ("neutral-shelf", "solubility-dissolves", 39, "the same name"),
        ("neutral-shelf", "Neutral_shelf", 34, "other characters"),
        (ASKING_TEXT, "Chemists dissolve {term} in:", 39, "ends in ':'"),
        (ASKING_TEXT, "What dissolves {term}", 39, "ends with the term"),
        ('"oil" = "fat"', '"oil" = "water vapour"', 5, "'water' is the beginning of the answer 'water vapour'"),
        ('"oil" = "fat"', '"oil" = "fat"\n"lard" = "fat"', 5, "answers names the label 'lard'"),
        ('"oil" = ["A"]', '"oil" = ["A"]\n"lard" = ["A"]', 5, "code.prefixes names the label 'lard'"),
        ('column = "soluble_in"', 'column = "soluble_in"\nminimum_labels = 3', 5, "has 2 labels"),
        (
            'column = "soluble_in"',
            'column = "soluble_in"\npair_within = "term"',
            5,
            "No two main terms with the same term",
        ),
    ],
)
def test_the_check_finds_what_is_unsound_in_a_concept_file(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    folder = write_concept(tmp_path / "vitamins", swap(CONCEPT_TOML, old, new))
    found = [str(fault) for fault in check(load_library(tmp_path)) if words in fault.fault]
    assert len(found) == 1
    assert found[0].startswith(f"{folder / 'concept.toml'}:{line}: ")
    assert "\n" not in found[0]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("thiamine", "Retinol", 4, "The term 'Retinol' stands in line 2 already"),
        ("thiamine", "", 4, "The term is empty"),
        ("thiamine", " thiamine", 4, "stray white space"),
        ("thiamine", "thia  mine", 4, "stray white space"),
        ("thiamine", "thia\u200bmine", 4, "can't be seen"),
        ("B1,", "B1 ,", 4, "stray white space"),
        ("water,B1", "oil,A3", 5, "solubility 'water' has 1 main terms of the 2"),
        ("oil,A2", "oil,B12", 3, "code is 'B12'; solubility 'oil' asks for A at its start"),
        ("oil,A2", "oil,", 3, "asks for A at its start"),
        ("oil,A2", "lard,A2", 2, "solubility 'oil' has 1 main terms of the 2"),
        ("late,2,1929", "late,3,1929", 5, "stands at place 2 here and at 3 above"),
        ("thiamine", "Water", 4, "The term 'Water' stands in the answer 'water'"),
    ],
)
def test_the_check_finds_what_is_unsound_in_the_terms(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    folder = write_concept(tmp_path / "vitamins", terms=swap(TERMS_CSV, old, new))
    found = [str(fault) for fault in check(load_library(tmp_path)) if words in fault.fault]
    assert len(found) == 1
    assert found[0].startswith(f"{folder / 'terms.csv'}:{line}: ")


def test_two_terms_may_not_be_spelled_alike(tmp_path: Path) -> None:
    rows = TERMS_CSV.splitlines()
    spellings = ["spelling", "vitamin A", "", "Vitamin a", "vitamin B2"]
    terms = "\n".join(f"{row},{spelling}" for row, spelling in zip(rows, spellings, strict=True))
    write_concept(tmp_path / "vitamins", terms=terms)
    (fault,) = check(load_library(tmp_path))
    assert (fault.line, fault.fault) == (4, "The spelling 'Vitamin a' stands in line 2 already.")


def test_terms_of_a_variant_do_not_make_a_label_big_enough(tmp_path: Path) -> None:
    variants = ["variant", "", "words", "", ""]
    terms = "\n".join(f"{row},{variant}" for row, variant in zip(TERMS_CSV.splitlines(), variants, strict=True))
    write_concept(tmp_path / "vitamins", terms=terms)
    assert [fault.fault for fault in check(load_library(tmp_path))] == [
        "solubility 'oil' has 1 main terms of the 2 it needs."
    ]


def test_answers_are_compared_word_by_word_and_only_where_terms_can_meet(tmp_path: Path) -> None:
    near = swap(CONCEPT_TOML, '"oil" = "fat"', '"oil" = "wat"')
    write_concept(tmp_path / "near" / "vitamins", near)
    assert check(load_library(tmp_path / "near")) == []
    same = swap(CONCEPT_TOML, '"oil" = "fat"', '"oil" = "Water"')
    write_concept(tmp_path / "same" / "vitamins", same)
    assert any("is the beginning of" in fault.fault for fault in check(load_library(tmp_path / "same")))
    apart = swap(same, 'column = "soluble_in"', 'column = "soluble_in"\npair_within = "code"')
    write_concept(tmp_path / "apart" / "vitamins", apart)
    assert not any("is the beginning of" in fault.fault for fault in check(load_library(tmp_path / "apart")))


def test_two_labels_may_not_have_one_answer(tmp_path: Path) -> None:
    write_concept(tmp_path / "vitamins", swap(CONCEPT_TOML, '"oil" = "fat"', '"oil" = "water"'))
    faults = check(load_library(tmp_path))
    assert [(fault.line, fault.fault) for fault in faults] == [
        (5, "Labelling solubility: No two main terms have answers that differ: there is no pair to patch."),
        (4, "solubility 'water' has the same answer as 'oil': 'water'."),
    ]


def test_all_faults_of_all_concepts_are_collected_in_order(tmp_path: Path) -> None:
    write_concept(tmp_path / "a", swap(CONCEPT_TOML, NEUTRAL_TEXT, "No slot"), swap(TERMS_CSV, "oil,A2", "oil,B12"))
    write_concept(tmp_path / "b", swap(CONCEPT_TOML, "title", "titel"))
    write_concept(tmp_path / "c", terms=swap(TERMS_CSV, "thiamine", " thiamine"))
    places = [(fault.file.relative_to(tmp_path).as_posix(), fault.line) for fault in check_folder(tmp_path)]
    assert places == [("a/concept.toml", 34), ("a/terms.csv", 3), ("b/concept.toml", 1), ("c/terms.csv", 4)]


def test_an_unsound_library_is_refused_with_every_fault_on_its_own_line(vitamins: Path) -> None:
    assert require_sound(load_library(vitamins.parent)).names == ("vitamins",)
    write_concept(vitamins, swap(CONCEPT_TOML, NEUTRAL_TEXT, "No slot"), swap(TERMS_CSV, "thiamine", " thiamine"))
    with pytest.raises(ConceptError) as caught:
        require_sound(load_library(vitamins.parent))
    assert len(str(caught.value).splitlines()) == 2


def test_a_shipped_library_needs_more_templates_and_sources_than_a_users_own(vitamins: Path) -> None:
    write_concept(vitamins, terms=swap(TERMS_CSV, "1910,a textbook", "1910,"))
    assert check_folder(vitamins.parent) == []
    assert [fault.fault for fault in check_folder(vitamins.parent, strict=True)] == [
        "Of 4 neutral templates with held_out = false, there are 1.",
        "Of 2 neutral templates with held_out = true, there are 0.",
        "Of 4 asking templates for solubility with held_out = false, there are 0.",
        "Of 2 asking templates for solubility with held_out = true, there are 1.",
        "The row has no source.",
    ]


def test_a_concept_without_labelling_or_template_is_unsound(tmp_path: Path) -> None:
    toml = 'title = "A"\nrole = "control"\ndescription = "D"\nlabellings = []\ntemplates = []'
    write_concept(tmp_path / "a", toml)
    faults = [fault.fault for fault in check_folder(tmp_path)]
    assert faults == ["There is no labelling.", "There is no template."]
    assert "No template asks for a labelling." in [fault.fault for fault in check_folder(tmp_path, strict=True)]


def test_the_example_of_the_documentation_is_a_sound_library(tmp_path: Path) -> None:
    blocks = re.findall(r"\*\*`my-concepts/([\w./-]+)`\*\*\n\n```\w+\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert [name for name, _ in blocks] == ["vitamins/concept.toml", "vitamins/terms.csv"]
    for name, content in blocks:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")
    assert check_folder(tmp_path) == []
    assert len(load_library(tmp_path).concept("vitamins").terms) == 6


def test_the_documentation_names_every_shipped_concept_with_its_role() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (medical|control) \|", DOCS.read_text("utf-8"), re.MULTILINE))
    assert rows == {concept.name: concept.role for concept in load_library().concepts}


def test_the_shipped_library_is_sound() -> None:
    assert [str(fault) for fault in check_folder()] == []


def sizes(concept: Concept, labelling: str) -> Counter[str]:
    chosen = concept.labelling(labelling)
    return Counter(label for term in concept.terms if term.is_main and (label := chosen.label(term)))


@pytest.mark.parametrize(
    ("name", "terms", "labelling", "labels", "terms_per_label"),
    [
        ("drugs", 150, "specialty", 14, 8),
        ("drugs", 150, "mechanism", 35, 3),
        ("diseases", 110, "category", 12, 2),
        ("symptoms", 90, "system", 11, 2),
        ("age", 303, "years", 101, 3),
        ("dosage", 60, "verdict", 2, 2),
        ("countries", 100, "continent", 5, 2),
        ("animals", 80, "class", 2, 2),
    ],
)
def test_the_shipped_concepts_are_large_enough_for_statistics(
    name: str, terms: int, labelling: str, labels: int, terms_per_label: int
) -> None:
    concept = load_concept(CONCEPTS / name)
    counts = sizes(concept, labelling)
    assert sum(term.is_main for term in concept.terms) >= terms
    assert len(counts) >= labels
    assert min(counts.values()) >= terms_per_label


def test_shipped_drugs_and_diseases_carry_their_codes_doses_and_symptoms() -> None:
    drugs, diseases = load_concept(CONCEPTS / "drugs"), load_concept(CONCEPTS / "diseases")
    for drug in drugs.terms:
        assert re.fullmatch(r"[A-Z]\d\d[A-Z]{2}\d\d", drug.cells["atc"]), drug.name
        assert bool(drug.cells["ddd"]) == bool(drug.cells["ddd_unit"]), drug.name
        assert drug.cells["indication"], drug.name
    for disease in diseases.terms:
        assert re.fullmatch(r"[A-Z]\d\d(\.\d)?(-[A-Z]\d\d(\.\d)?)?", disease.cells["icd10"]), disease.name
        assert 3 <= len(disease.cells["symptoms"].split(";")) <= 6, disease.name


def test_shipped_mechanisms_are_no_function_of_the_spelling() -> None:
    drugs = load_concept(CONCEPTS / "drugs")
    endings: dict[str, Counter[str]] = defaultdict(Counter)
    for drug in drugs.terms:
        endings[drug.cells["mechanism"]][drug.name[-4:]] += 1
    no_stem = [mechanism for mechanism, counts in endings.items() if mechanism and max(counts.values()) == 1]
    assert len(no_stem) >= 5


def test_shipped_progression_has_whole_staging_systems_in_four_wordings() -> None:
    progression = load_concept(CONCEPTS / "progression")
    stages: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for term in progression.terms:
        stages[term.cells["disease"]][int(term.cells["stage_order"])][term.cells["wording"]] += 1
        assert term.cells["staging_system"]
    assert len(stages) >= 10
    for system in stages.values():
        assert 4 <= len(system) <= 7
        assert sorted(system) == list(range(1, len(system) + 1))
        assert all(wordings.total() >= 4 and set(wordings) == {"named", "described"} for wordings in system.values())


def test_shipped_ages_run_from_0_to_100_in_figures_and_in_words() -> None:
    age = load_concept(CONCEPTS / "age")
    for variant in ("", "words"):
        found = Counter((term.cells["years"], term.cells["sex"]) for term in age.terms if term.variant == variant)
        assert found == {(str(year), sex): 1 for year in range(101) for sex in ("male", "female", "")}


def test_each_shipped_dose_has_a_right_and_a_wrong_one_of_the_same_drug() -> None:
    doses: dict[str, set[str]] = defaultdict(set)
    for term in load_concept(CONCEPTS / "dosage").terms:
        doses[term.cells["drug"]].add(term.cells["verdict"])
    assert len(doses) >= 60
    assert all("usual" in verdicts and len(verdicts) > 1 for verdicts in doses.values())
