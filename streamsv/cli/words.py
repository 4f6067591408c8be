"""What events mean, in sentences for people."""

from __future__ import annotations

from streamsv.events import DecisionMade, Feedback, Reason, Score, Verdict

FEEDBACK = {
    Feedback.OK: "good",
    Feedback.TOO_QUIET: "too quiet, come closer or raise the input level",
    Feedback.CLIPPED: "too loud and clipped, lower the input level",
    Feedback.NO_VOICE: "no voice heard",
    Feedback.NOISY: "noisy, come closer or find a quieter place",
    Feedback.TOO_SHORT: "this recording has too little speech and is left out",
}

_BRIEFLY = {
    Reason.NOT_ENOUGH_SPEECH: "too little speech",
    Reason.NOT_SPEECH: "not like speech",
    Reason.TOO_QUIET: "too quiet",
}


def of_score(score: Score) -> str:
    """``LLR +5.73, cosine 0.747``."""
    return f"LLR {score.llr:+.2f}, cosine {score.cosine:.3f}"


def of_decision(decision: DecisionMade) -> str:
    """A verdict as a sentence; without a speaker it is that of an identification."""
    whose = f"{decision.speaker}'s" if decision.speaker else "anybody's who is enrolled"
    evidence = f" ({of_score(decision.score)})" if decision.score else ""
    after = f"after {decision.net_speech_s:.1f} s of speech{evidence}"
    match decision.verdict:
        case Verdict.ACCEPT:
            return f"Accepted as {decision.speaker}, {after}."
        case Verdict.REJECT:
            return f"Rejected: the voice is not {whose}, {after}."
        case Verdict.UNDECIDED:
            return f"Undecided: {_reason(decision)}, {after}."


def of_decision_briefly(decision: DecisionMade) -> str:
    """What stands beside a verdict, on one line."""
    whom = "nobody who is enrolled"
    if decision.speaker:
        relation = "as" if decision.verdict is Verdict.ACCEPT else "not"
        whom = f"{relation} {decision.speaker}"
    after = f"after {decision.net_speech_s:.1f} s of speech"
    if decision.verdict is Verdict.UNDECIDED:
        return f"{_BRIEFLY.get(decision.reason, 'inconclusive')} {after}"
    return f"{whom}, {after}" + (f", LLR {decision.score.llr:+.2f}" if decision.score else "")


def _reason(decision: DecisionMade) -> str:
    if decision.reason is Reason.NOT_ENOUGH_SPEECH:
        return "there was too little speech"
    if decision.reason is Reason.NOT_SPEECH:
        return "what was heard is not like speech"
    if decision.reason is Reason.TOO_QUIET:
        return "the voice was too quiet, come closer or raise the input level"
    return "the evidence does not suffice"
