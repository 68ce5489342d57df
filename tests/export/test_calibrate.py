"""`fedkey-export calibrate`: what it fits, what it writes, and what it refuses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.bundle import CORRECTION, MANIFEST, BundleError, open_bundle
from fedkey.channel import LETTERS
from fedkey.commands import EXIT_MISTAKE
from fedkey.conversations import GradedConversation
from fedkey.corrections import DEFAULT_CORRECTIONS, CorrectionModel, confidence, correction
from fedkey.judge import Choice, Judge, Literal
from fedkey.mistyping import Placed
from fedkey.typos import Misspelling, part_of
from fedkey_export import calibrate as calibration
from fedkey_export.calibrate import ALONE, MAX_HARM, NEW, RIGHT, SLIPS, Source, fit, judged, outcome
from fedkey_export.calibrate import MISSPELLINGS as MISSPELT
from fedkey_export.judging import Case, learn
from fedkey_export.misspellings import fit_channel

MISSPELLINGS = """tomorrow tomorow tommorow tomorro
because becase becuase
believe beleive belive
weekend weekned wekend
different diferent diffrent
library libary librery
picture pictre picutre
favorite favorit favourit
restaurant restarant resturant
question qustion queston
people peple poeple
really realy relly
friend freind frend
school shcool scool
station sation staion
probably probaly probly
"""

WAYS = ("thumbs", "taps", "slips", "joined", "unmarked", MISSPELT, ALONE)

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def short_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Some misspellings in place of the long list that another package ships."""
    path = tmp_path / "misspellings.txt"
    path.write_text(MISSPELLINGS, encoding="utf-8")
    monkeypatch.setattr(calibration, "installed_misspellings", lambda: path)
    return path


def calibrated(run: Command, bundle: Path, data: Path, *options: object) -> str:
    """What calibrating prints, if it goes well."""
    text = data / "validation.jsonl"
    status, out, error = run("calibrate", bundle, "--text", text, "--max-words", 60, *options)
    assert (status, error) == (0, "")
    return out


def contents(bundle: Path) -> dict[str, bytes]:
    return {str(each.relative_to(bundle)): each.read_bytes() for each in bundle.rglob("*") if each.is_file()}


# ---------------------------------------------------------------------------------------------- what it does


def test_a_bundle_gets_its_corrections_and_a_table_tells_of_them(
    fedkey_export: Command, bundle: Path, tiny_data: Path
) -> None:
    before = contents(bundle)
    out = calibrated(fedkey_export, bundle, tiny_data)
    after = contents(bundle)
    assert after.keys() - before.keys() == {CORRECTION}
    assert [name for name in before if before[name] != after[name]] == [MANIFEST]
    assert CORRECTION in open_bundle(bundle).manifest.files
    engine = Engine.open(bundle)
    assert engine.corrections == CorrectionModel.from_json(after[CORRECTION].decode())
    assert engine.corrections.channel is not None
    assert engine.suggest("see you ", "tomorow").autocorrect == "tomorrow"

    head, *rows, last = out.splitlines()
    for name in ("harmed", "new", *(f"{each} repaired" for each in WAYS), "wrong"):
        assert name in head
    assert len(rows) == len(calibration.CONFIDENCES)
    fitted = [row for row in rows if row.endswith("*")]
    assert [float(row.split()[0]) for row in fitted] == [engine.corrections.min_confidence]
    assert last.startswith("* fitted; ")
    assert engine.corrections.judge is not None


def test_what_is_fitted_was_found_with_the_spelling_that_was_counted(
    fedkey_export: Command, bundle: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that spelling mistakes lead to must compete while the numbers are fitted, as they will after."""
    kept: dict[str, Source] = {}

    def fit_and_keep(sources: Mapping[str, Source], *rest: Any, **named: Any) -> calibration.Calibration:
        kept.update(sources)
        return fit(sources, *rest, **named)

    monkeypatch.setattr(calibration, "fit", fit_and_keep)
    calibrated(fedkey_export, bundle, tiny_data)
    words = [
        choice
        for source in kept.values()
        for case in source.cases
        for choice in case.choices
        if " " not in choice.text
    ]
    assert words
    assert all(math.isfinite(choice.spelling_cost) for choice in words)


def test_the_same_again_gives_the_same_bytes(fedkey_export: Command, bundle: Path, tiny_data: Path) -> None:
    """Also from a bundle that was calibrated before: every calibration begins with the defaults."""
    first = calibrated(fedkey_export, bundle, tiny_data), contents(bundle)
    assert (calibrated(fedkey_export, bundle, tiny_data), contents(bundle)) == first


def test_json_says_the_same(fedkey_export: Command, bundle: Path, tiny_data: Path) -> None:
    told = json.loads(calibrated(fedkey_export, bundle, tiny_data, "--json"))
    assert told["correction"] == json.loads((bundle / CORRECTION).read_text())
    assert told["outcomes"].keys() == {RIGHT, NEW, *WAYS}
    chosen = [row for row in told["curve"] if row["min_confidence"] == told["correction"]["min_confidence"]]
    assert [{name: row[name] for name in told["outcomes"]} for row in chosen] == [told["outcomes"]]
    assert told["outcomes"]["new"]["repaired"] == 0
    assert told["outcomes"]["right"]["wrong"] <= MAX_HARM
    for name in ("thumbs", "slips"):
        assert told["outcomes"][name]["repaired"] > 0.5


def test_without_a_list_of_misspellings_the_rest_is_fitted(
    fedkey_export: Command, bundle: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "installed_misspellings", lambda: None)
    told = json.loads(calibrated(fedkey_export, bundle, tiny_data, "--json"))
    assert told["correction"]["channel"] is None
    assert told["outcomes"].keys() == {RIGHT, NEW, *WAYS} - {MISSPELT, ALONE}
    assert Engine.open(bundle).corrections.channel is None


def test_misspellings_for_grading_are_not_looked_at(
    fedkey_export: Command, bundle: Path, tiny_data: Path, short_list: Path
) -> None:
    graded = [line for line in MISSPELLINGS.splitlines() if part_of(line.split()[0]) == "grading"]
    assert 2 < len(graded) < len(MISSPELLINGS.splitlines()) - 2
    calibrated(fedkey_export, bundle, tiny_data)
    with_them = contents(bundle)
    short_list.write_text(
        "".join(f"{line}\n" for line in MISSPELLINGS.splitlines() if line not in graded), encoding="utf-8"
    )
    calibrated(fedkey_export, bundle, tiny_data)
    assert contents(bundle) == with_them
    short_list.write_text("tomorrow tomorow\nstation stayshun\n", encoding="utf-8")
    calibrated(fedkey_export, bundle, tiny_data)
    assert contents(bundle) != with_them


# ------------------------------------------------------------------------------------------- what it looks at


def typed(engine: Engine, *messages: str) -> dict[str, Source]:
    """What all ways of typing a conversation's words find."""
    conversation = GradedConversation("somebody", messages, (True,) * len(messages))
    return {
        **calibration.collect_right(engine, [conversation]),
        **calibration.collect_mistyped(engine, [conversation], seed=0),
        **calibration.collect_joined(engine, [conversation], seed=0),
        **calibration.collect_misspelt(engine, [Placed("tomorow", "tomorrow", "see you ")]),
    }


def found(source: Source) -> list[tuple[str, str | None]]:
    """What was typed, and what was meant by it, if that competes."""
    return [
        (each.literal.text, each.choices[each.right].text if each.right >= 0 else None)
        for each in source.cases
    ]


def test_every_way_of_typing_finds_what_competes(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "JOINED_SHARE", 1.0)
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        sources = typed(engine, "i don't think that dont zqrblx was in the morning yesterday ")
        assert sources[RIGHT].num_words == 11
        assert found(sources[RIGHT]) == [("dont", "don't"), ("zqrblx", None)]
        assert found(sources["unmarked"]) == [("dont", "don't")]
        assert ("inthe", "in the") in found(sources["joined"])
        assert "zqrblx" not in "".join(text for text, _ in found(sources["joined"]))
        assert found(sources[MISSPELT]) == found(sources[ALONE]) == [("tomorow", "tomorrow")]
        for name in ("thumbs", "taps", "slips"):
            assert sources[name].cases, name
            assert all(text.lower() not in engine.lexicon.forms for text, _ in found(sources[name]))
            assert {each.literal.is_tapped for each in sources[name].cases} == {name == "taps"}


def test_rare_words_that_the_model_hardly_knows_stand_for_new_ones(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        shares = zip(engine.lexicon.log_prob.tolist(), range(len(engine.lexicon)), strict=True)
        words = [engine.lexicon.word(number) for _, number in sorted(shares)]
        usual = words[-1]
        rare = next(word for word in words if word.isascii() and word.islower() and len(word) > 6)
        for nats, new in ((100.0, [(rare, None)] * 2), (-100.0, [])):
            monkeypatch.setattr(calibration, "LEARNED", nats)
            assert found(typed(engine, f"{usual} {usual} {rare} {usual} ")[NEW]) == new
        assert rare not in [each.text for each in engine.doubt("", rare).choices]


def test_steps_are_told_and_done(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    totals: dict[str, int] = {}
    done: dict[str, int] = {}

    def follow(description: str, total: int, unit: str) -> Callable[[int], None]:
        totals[description], done[description] = total, 0

        def report(count: int) -> None:
            done[description] += count

        return report

    calibration.calibrate(bundle, tiny_data / "validation.jsonl", max_words=60, follow=follow)
    assert done == totals
    assert len(done) == 5


# ------------------------------------------------------------------------------------------- what it refuses


def test_mistakes_are_told_in_one_sentence(
    fedkey_export: Command, bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    text = tiny_data / "validation.jsonl"
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "broken.jsonl").write_text("{\n")
    (tmp_path / "short.txt").write_text("hello there\nsee you tomorrow\n")
    before = contents(bundle)
    for arguments, reason in (
        ((tmp_path / "nothing", "--text", text), "no bundle at"),
        ((bundle, "--text", tmp_path / "nothing.txt"), "nothing.txt"),
        ((bundle, "--text", tmp_path / "empty.txt"), "empty.txt"),
        ((bundle, "--text", tmp_path / "broken.jsonl"), "broken.jsonl"),
        ((bundle, "--text", text, "--max-words", 0), "--max-words must be at least 1"),
        ((bundle, "--text", tmp_path / "short.txt"), "thousands of words by 2 authors"),
        ((bundle, "--text", text, "--max-words", 1), "thousands of words by 2 authors"),
    ):
        status, out, error = fedkey_export("calibrate", *arguments)
        assert (status, out) == (EXIT_MISTAKE, "")
        assert error.startswith("fedkey-export: ")
        assert error.endswith(".\n")
        assert error.count("\n") == 1
        assert reason in error
    assert contents(bundle) == before


def test_a_bundle_that_cannot_be_written_stays_as_it_was(
    fedkey_export: Command, bundle: Path, tiny_data: Path
) -> None:
    (bundle / CORRECTION).mkdir()
    (bundle / CORRECTION / "in the way").write_text("")
    before = (bundle / MANIFEST).read_bytes()
    text = tiny_data / "validation.jsonl"
    status, _, error = fedkey_export("calibrate", bundle, "--text", text, "--max-words", 60)
    assert status == EXIT_MISTAKE
    assert error.startswith(f"fedkey-export: Cannot write into the bundle {bundle}: ")
    assert (bundle / MANIFEST).read_bytes() == before
    assert Engine.open(bundle).corrections == DEFAULT_CORRECTIONS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "malformed"),
        ("{}", "there is no value for 'errors'"),
        (DEFAULT_CORRECTIONS.to_json().replace("0.85", "8.5"), "min_confidence is from 0 to 1, not 8.5"),
        (DEFAULT_CORRECTIONS.to_json().replace("slip_bias", "slip_bais"), "do you mean 'slip_bias'"),
        (DEFAULT_CORRECTIONS.to_json() + "{}", "Extra data"),
    ],
    ids=lambda text: text[:12],
)
def test_a_malformed_correction_is_refused_in_one_sentence(bundle: Path, text: str, reason: str) -> None:
    vouch_for(bundle, DEFAULT_CORRECTIONS.to_json())
    assert Engine.open(bundle).corrections == DEFAULT_CORRECTIONS
    vouch_for(bundle, text)
    with pytest.raises(BundleError) as refused:
        Engine.open(bundle)
    sentence = str(refused.value)
    assert sentence.startswith("The bundle's correction.json is malformed (")
    assert sentence.endswith("); export or download the bundle again.")
    assert "\n" not in sentence
    assert reason in sentence


def vouch_for(bundle: Path, text: str) -> None:
    """Puts corrections in as somebody would who knows the format."""
    content = text.encode()
    (bundle / CORRECTION).write_bytes(content)
    manifest = json.loads((bundle / MANIFEST).read_text())
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["files"][CORRECTION] = entry
    (bundle / MANIFEST).write_text(json.dumps(manifest))


# ------------------------------------------------------------------------------------------------ the fit

NATS = st.floats(-25, -1)
CHOICES = st.builds(Choice, st.text(LETTERS, max_size=3), NATS, NATS, st.floats(0, 12), st.floats(0, 12))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    choices = tuple(draw(st.lists(CHOICES, max_size=4)))
    literal = Literal("wrod", draw(st.floats(-30, -5)), draw(st.floats(-40, -2)), draw(st.booleans()), False)
    right = draw(st.integers(-1, len(choices) - 1))
    return Case(literal, choices, right, f"author {draw(st.integers(0, 3))}")


@st.composite
def sources(draw: st.DrawFn) -> Source:
    found = tuple(draw(st.lists(cases(), max_size=6)))
    return Source(max(1, len(found)) + draw(st.integers(0, 20)), found)


@given(source=sources(), min_confidence=st.sampled_from(calibration.CONFIDENCES))
@settings(max_examples=30)
def test_what_is_counted_is_what_the_keyboard_would_do(source: Source, min_confidence: float) -> None:
    model = CorrectionModel(min_confidence=min_confidence)
    grades = [judged(model, each) for each in source.cases]
    counted = outcome(grades, source.num_words, min_confidence)
    repaired = wrong = 0
    for found in source.cases:
        numbered = [each._replace(text=str(number)) for number, each in enumerate(found.choices)]
        put = correction(model, found.literal, numbered)
        if put is not None:
            repaired += int(put) == found.right
            wrong += int(put) != found.right
    assert counted.repaired == pytest.approx(repaired / source.num_words)
    assert counted.wrong == pytest.approx(wrong / source.num_words)


def case(right: int, author: str, *, cost: float = 4.0, by_model: float = -20.0) -> Case:
    literal = Literal("wrod", -20.0, by_model, is_name=False, is_tapped=False)
    return Case(literal, (Choice("word", -8.0, -8.0, cost, 9.0),), right, author)


AUTHORS = [f"author {number}" for number in range(20)]


def of_authors(right: int, **options: float) -> tuple[Case, ...]:
    return tuple(case(right, author, **options) for author in AUTHORS)


def test_harm_is_avoided_before_anything_is_repaired() -> None:
    """Words that look alike whether typed right or mistyped: none may be corrected."""
    nothing = Source(1, ())
    mistyped = Source(100, of_authors(0))
    fitted = fit({RIGHT: Source(100, of_authors(-1)), NEW: nothing, SLIPS: mistyped}, DEFAULT_CORRECTIONS, 0)
    alone = fit({RIGHT: Source(100, ()), NEW: nothing, SLIPS: mistyped}, DEFAULT_CORRECTIONS, 0)
    assert alone.outcomes[SLIPS].repaired == pytest.approx(0.2)
    assert fitted.outcomes[RIGHT].wrong == fitted.outcomes[SLIPS].repaired == 0


def test_with_nothing_mistyped_it_is_as_sure_as_before() -> None:
    nothing = fit({RIGHT: Source(9, ()), NEW: Source(0, ()), SLIPS: Source(0, ())}, DEFAULT_CORRECTIONS, 0)
    assert nothing.model.judge is None
    assert nothing.model.min_confidence == pytest.approx(DEFAULT_CORRECTIONS.min_confidence, abs=0.011)


def test_of_as_good_thresholds_the_surest_is_taken() -> None:
    fitted = fit(
        {RIGHT: Source(100, ()), NEW: Source(1, ()), SLIPS: Source(100, of_authors(0))},
        DEFAULT_CORRECTIONS,
        0,
    )
    best = max(outcomes[SLIPS].repaired for _, outcomes in fitted.curve)
    as_good = [threshold for threshold, outcomes in fitted.curve if outcomes[SLIPS].repaired == best]
    assert len(as_good) > 1
    assert fitted.model.min_confidence == max(as_good)


def test_what_tells_new_words_from_mistakes_is_learned() -> None:
    """Costs and letters are the same, but the model finds what is mistyped odd; no weighting of the scores
    can see that."""
    new, mistyped = of_authors(-1, by_model=-20.0), of_authors(0, by_model=-32.0)
    fitted = fit(
        {RIGHT: Source(100, ()), NEW: Source(20, new), SLIPS: Source(20, mistyped)}, DEFAULT_CORRECTIONS, 0
    )
    assert fitted.outcomes[NEW].wrong == 0
    assert fitted.outcomes[SLIPS].repaired == 1
    for each, is_changed in ((new[0], False), (mistyped[0], True)):
        alone, scores = fitted.model.scores(each.literal, each.choices)
        assert (confidence(alone, scores) > 0.5) is is_changed
    both = (DEFAULT_CORRECTIONS.scores(each.literal, each.choices) for each in (new[0], mistyped[0]))
    assert len({confidence(alone, scores) for alone, scores in both}) == 1


def test_what_is_graded_was_not_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[set[str]] = []

    def learn_and_note(
        cases: Mapping[str, Sequence[Case]], shares: Mapping[str, float], start: CorrectionModel, seed: int
    ) -> Judge | None:
        taught.append({each.group for found in cases.values() for each in found})
        return learn(cases, shares, start, seed)

    graded: list[str] = []

    def judge_and_note(model: CorrectionModel, each: Case) -> calibration.Judged:
        graded.append(each.group)
        assert each.group not in taught[-1]
        return judged(model, each)

    monkeypatch.setattr(calibration, "learn", learn_and_note)
    monkeypatch.setattr(calibration, "judged", judge_and_note)
    fit(
        {RIGHT: Source(100, of_authors(-1)), NEW: Source(1, ()), SLIPS: Source(100, of_authors(0))},
        DEFAULT_CORRECTIONS,
        0,
    )
    one, other, everyone = taught
    assert one
    assert other
    assert not one & other
    assert one | other == everyone == set(AUTHORS)
    assert sorted(graded) == sorted(AUTHORS * 2)


def test_mistakes_that_were_seen_often_cost_less() -> None:
    pairs = [
        Misspelling("recieve", "receive"),
        Misspelling("beleive", "believe"),
        Misspelling("seperate", "separate"),
    ]
    channel = fit_channel([*pairs * 20, Misspelling("wrod", "word")])
    for typed, meant, other in (
        ("decieve", "deceive", "dexeive"),
        ("temperate", "tamparate", "tomparate"),
    ):
        often, seldom = channel.costs(typed, [meant])[0], channel.costs(other, [meant])[0]
        assert often < seldom
    right, wrong = channel.costs("word", ["word"])[0], channel.costs("wodr", ["word"])[0]
    assert right < wrong
