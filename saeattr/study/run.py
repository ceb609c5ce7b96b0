"""From what was prepared to a study on disk: stage after stage for all groups; what is stored is not done again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from saeattr.errors import UserError, during
from saeattr.files import remove_stored
from saeattr.model.hub import named
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import without_collecting_what_is_there
from saeattr.model.precision import device_warning
from saeattr.progress import OnProgress, about
from saeattr.runs.memory import MemoryPlan
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.selection.measure import Selection
from saeattr.study.attribution import Attribution
from saeattr.study.carry import plan_of
from saeattr.study.entropy import Entropy
from saeattr.study.fetching import fetch_saes, recorded_saes
from saeattr.study.folder import StudyFolder, read_record, write_record
from saeattr.study.generation import Generating
from saeattr.study.hands import HERE, Hands
from saeattr.study.lens import Lens
from saeattr.study.memory import note_sites
from saeattr.study.notes import StageNotes, keep_notes
from saeattr.study.pairs import MakingPairs, MakingTestPairs, contrast_label, stored_pairs
from saeattr.study.patching import HeadMoves, Patching
from saeattr.study.prepare import Prepared
from saeattr.study.recall.localisation import FactPatching
from saeattr.study.recall.mlps import Mlps
from saeattr.study.recall.movers import Movers
from saeattr.study.recall.phases import AnswerLens, WindowPatches
from saeattr.study.recall.shots import Shots
from saeattr.study.recall.steering import Steering
from saeattr.study.recall.suppression import Suppression
from saeattr.study.selection import Choosing, stored_selection, with_choice
from saeattr.study.stage import WHOLE, Stage, Work
from saeattr.study.statistics import Statistics
from saeattr.study.validation import Validation

#: Every stage of a study, in the order in which they follow each other.
STAGES: tuple[type[Stage], ...] = (
    MakingPairs,
    Statistics,
    Entropy,
    Lens,
    Patching,
    HeadMoves,
    FactPatching,
    *(AnswerLens, WindowPatches),
    Movers,
    Suppression,
    Mlps,
    Shots,
    Steering,
    Choosing,
    Attribution,
    MakingTestPairs,
    Validation,
    Generating,
)


#: Reasons that are told where no pair can be used.
REASONS = 3
#: What work on several groups at once is said to be about.
TOGETHER = "all groups"


def run_stages(
    prepared: Prepared,
    study: StudyFolder,
    stages: Sequence[Stage],
    on_progress: OnProgress,
    hands: Hands = HERE,
) -> list[str]:
    """Do what is missing; the model is loaded only if there is something to do.

    1. What is stored as it is wanted is left alone.
    2. Every group's pairs are made by the behaviour, or read (``MakingPairs``), and the stages run that need the model
       alone.
    3. Where no sites are named and none were chosen before, the first group's pairs choose them (``Choosing``), and
       only those SAEs are fetched, checked and hashed (``fetch_saes``).
    4. Stage by stage, those that open SAEs run for the groups that miss them, within the memory plan; attribution and
       validation for all of them together, so that every SAE is opened once. What a group gave is stored when it is
       there (``carry_out``).
    5. Last come the stages that take the pairs of all groups as one.

    Args:
        stages: those wanted, in order.
        hands: who does it.

    Returns:
        What the reader should know, one line each.
    """
    known = named(prepared.settings.model)
    warnings = [known.note] if known is not None and known.note else []
    keep_notes(study, StageNotes("model", "", WHOLE, False, tuple(warnings)))
    _remove_used_up(study, prepared.groups, stages)
    with without_collecting_what_is_there():
        return warnings + _run_missing(prepared, study, stages, on_progress, hands)


def _remove_used_up(study: StudyFolder, groups: Sequence[str], stages: Sequence[Stage]) -> None:
    """Remove the parts of tables that are stored: a run was killed after these, and before it removed the parts."""
    for stage, group in itertools.product(stages, groups):
        partial = stage.partial(study, group)
        if partial.is_dir() and stage.is_done(study, group):
            remove_stored(partial)


def _run_missing(
    prepared: Prepared, study: StudyFolder, stages: Sequence[Stage], on_progress: OnProgress, hands: Hands
) -> list[str]:
    choosing = not prepared.settings.names_sites and any(stage.opens_saes for stage in stages)
    choosing, on_offer = choosing and not Choosing().is_done(study, WHOLE), prepared
    damaged = Choosing().damage(study, WHOLE) if choosing else []
    # The sites stand: what was chosen before is only stored again.
    again = choosing and bool(recorded_saes(study))
    if not prepared.settings.names_sites and any(stage.opens_saes for stage in stages):
        prepared, choosing = with_choice(prepared, study), choosing and not again
    missing, told = missing_stages(prepared, study, stages, on_progress)
    damaged += told
    if not (missing or again):
        return damaged
    carry = _Counted(hands, on_progress, sum(map(len, missing.values())))
    lm = hands.open_model(prepared, next(iter(missing), WHOLE), on_progress)
    differs = _device_warnings(lm)
    keep_notes(study, StageNotes("device", "", WHOLE, False, tuple(differs)))
    warnings = [*damaged, *differs]
    if again:
        warnings += _choose_again(on_offer, study, lm, on_progress, hands)
    begun = [begin_work(lm, prepared, study, group, on_progress) for group in missing if group != WHOLE]
    warnings += make_pairs(begun, hands)
    works = [work for work in (with_pairs(work, (work.group,)) for work in begun) if work.task.pairs]
    for stage in [stage for stage in stages if not (stage.opens_saes or stage.of_all)]:
        warnings += carry.out(stage, works)
    if any(stage.opens_saes for work in works for stage in missing[work.group]):
        works, choosing = _with_saes(works, choosing, hands), False
        prepared, plan = works[0].prepared, plan_of(works)
        for stage in [stage for stage in stages if stage.opens_saes and not stage.of_all]:
            # What damaged tables were made of may have been made again with other bytes: all that follows is asked.
            warnings += carry.out(stage, works, plan)
            if isinstance(stage, MakingTestPairs):
                plan = plan_of(works)
    if WHOLE in missing:
        work = begin_work(lm, prepared, study, WHOLE, on_progress)
        warnings += make_pairs([dataclasses.replace(work, group=group) for group in prepared.groups], hands)
        work, plan = with_pairs(work, prepared.groups), None
        if work.task.pairs and any(stage.opens_saes for stage in missing[WHOLE]):
            (work,) = _with_saes([work], choosing, hands)
            plan = plan_of([work])
        for stage in missing[WHOLE] if work.task.pairs else ():
            warnings += carry.out(stage, [work], plan if stage.opens_saes else None)
    return warnings


def missing_stages(
    prepared: Prepared, study: StudyFolder, stages: Sequence[Stage], on_progress: OnProgress
) -> tuple[dict[str, list[Stage]], list[str]]:
    """By group, the stages that are not stored as they are wanted, and a line for each damaged table.

    ``WHOLE`` has those of all groups as one. Without its pairs nothing of a group is done: once they are there again,
    what was made of the same ones is.
    """
    each, of_all = ([stage for stage in stages if stage.of_all == whole] for whole in (False, True))
    missing: dict[str, list[Stage]] = {}
    told = [line for group in prepared.groups for line in MakingPairs().damage(study, group)]
    for group, own in [*((group, each) for group in prepared.groups if each), *([(WHOLE, of_all)] if of_all else [])]:
        made = group == WHOLE or MakingPairs().is_done(study, group)
        lacking = [stage for stage in own if not (made and stage.is_done(study, group))]
        if lacking:
            missing[group] = lacking
            told += [line for stage in lacking for line in stage.damage(study, group)]
        else:
            on_progress(group, "already done", 1, 1)
    return missing, told


@dataclass
class _Counted:
    """Has stages carried out, and tells how many of all that were missing are done."""

    hands: Hands
    on_progress: OnProgress
    total: int
    done: int = 0

    def out(self, stage: Stage, works: Sequence[Work], plan: MemoryPlan | None = None) -> list[str]:
        """Have a stage carried out for the groups that have it not stored."""
        missing = [work for work in works if not stage.is_done(work.study, work.group)]
        told = self.hands.carry_out(stage, missing, plan) if missing else []
        self.done += len(missing)
        if missing:
            self.on_progress(WHOLE, "stages", min(self.done, self.total), self.total)
        return told


def _with_saes(works: Sequence[Work], choosing: bool, hands: Hands) -> list[Work]:
    """Works of one study at its sites, chosen by the first one's pairs where they are to be; the SAEs are fetched."""
    study, prepared = works[0].study, works[0].prepared
    if choosing:
        hands.carry_out(Choosing(), [dataclasses.replace(works[0], group=WHOLE)], None)
        _note_chosen_by(study, [works[0].group])
        prepared = with_choice(prepared, study)
    if not prepared.settings.names_sites:
        fetch_saes(study, prepared.saes, works[0].on_all)
    note_sites(study, prepared)
    return [
        dataclasses.replace(work, prepared=prepared, task=dataclasses.replace(work.task, saes=prepared.saes))
        for work in works
    ]


def _choose_again(
    prepared: Prepared, study: StudyFolder, lm: LanguageModel, on_progress: OnProgress, hands: Hands
) -> list[str]:
    """Make the tables of a study's choice again; a line where other sites would be chosen now, which are not taken."""
    groups = read_record(study).get("chosen_by") or prepared.groups[:1]
    told = make_pairs([begin_work(lm, prepared, study, group, on_progress) for group in groups], hands)
    work = with_pairs(begin_work(lm, prepared, study, groups[0], on_progress), groups)
    try:
        return [*told, *hands.carry_out(Choosing(), [dataclasses.replace(work, group=WHOLE)], None)]
    except UserError as error:
        return [*told, f"how the sites were chosen is not stored again, and the study keeps them: {error}"]


def _note_chosen_by(study: StudyFolder, groups: Sequence[str]) -> None:
    write_record(study, {**read_record(study), "chosen_by": list(groups)})


def choose_sites_of(prepared: Prepared, study: StudyFolder, on_progress: OnProgress, hands: Hands = HERE) -> Selection:
    """Choose a study's sites by the pairs of all its groups, and store the choice; what is stored stays.

    Raises:
        UserError: no group has a usable pair, or no SAE fits.
    """
    if (stored := stored_selection(study, prepared.saes)) is not None:
        return stored
    first = prepared.groups[0]
    lm = hands.open_model(prepared, first, on_progress)
    make_pairs([begin_work(lm, prepared, study, group, on_progress) for group in prepared.groups], hands)
    work = with_pairs(begin_work(lm, prepared, study, first, on_progress), prepared.groups)
    hands.carry_out(Choosing(), [dataclasses.replace(work, group=WHOLE)], None)
    _note_chosen_by(study, prepared.groups)
    Choosing.join(study, [WHOLE])
    found = stored_selection(study, prepared.saes)
    assert found is not None
    return found


def begin_work(lm: LanguageModel, prepared: Prepared, study: StudyFolder, group: str, on_progress: OnProgress) -> Work:
    """The work on one group, without its pairs yet."""
    settings = prepared.settings
    pace = Pace(batch_size=settings.batch_size, seed=settings.seed)
    task = Task(lm, (), prepared.saes, prepared.question, pace, about(on_progress, group))
    return Work(study, prepared, group, task, about(on_progress, TOGETHER))


def make_pairs(works: Sequence[Work], hands: Hands) -> list[str]:
    """Have the groups' pairs made and stored that are not; what a reader should know of them."""
    making = MakingPairs()
    missing = [work for work in works if not making.is_done(work.study, work.group)]
    return hands.carry_out(making, missing, None) if missing else []


def with_pairs(work: Work, groups: Sequence[str]) -> Work:
    """The work with some groups' stored pairs."""
    pairs = stored_pairs(work.study, groups)
    return dataclasses.replace(work, task=dataclasses.replace(work.task, pairs=pairs))


def join_stages(study: StudyFolder, groups: Sequence[str], told: Sequence[str] = ()) -> tuple[str, ...]:
    """Join the tables of all groups done so far, and note them, and what their pairs contrast, in the record.

    Args:
        told: what was found on the way, for where nothing came of it.

    Raises:
        UserError: no group gave anything.
    """
    record = read_record(study)
    order = list(dict.fromkeys([*record["groups"], *groups]))
    results = [stage for stage in STAGES if stage not in (MakingPairs, Choosing, MakingTestPairs)]
    whole = any(stage.is_there(study, WHOLE) for stage in results if stage.of_all)
    # What was made of all groups at once was made of those that have pairs.
    telling = [*results, MakingPairs] if whole else results
    done = [group for group in order if any(stage.is_there(study, group) for stage in telling)]
    if not done:
        why = f" ({'; '.join(told[:REASONS])})" if told else ""
        raise UserError(
            f"no pair about {', '.join(groups)} can be used{why}: name another group, or sample the lists with a lower "
            "--temperature"
        )
    for stage in STAGES:
        with during(f"joining {stage.name}"):
            stage.join(study, [WHOLE] if stage.of_all or stage is Choosing else done)
    now = {**record, "groups": done, "metric_label": contrast_label(study, done, record["metric_label"])}
    # Here all groups that were to grow have.
    now.pop("growing", None)
    if now != record:
        write_record(study, now)
    return tuple(done)


def _device_warnings(lm: LanguageModel) -> list[str]:
    differs = device_warning(lm.device) if lm.device.type == "mps" else None
    return [differs] if differs else []
