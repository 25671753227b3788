"""What does a trained model of many points say? As an exact one does, with what is lost in the place of leave-one-out."""

from __future__ import annotations

from typing import Any

from fastard._model.summary import Summary, about_fit, about_relevance, inputs_of, search_of, title_of, variances_of

_APPROXIMATE = (
    "×/÷ is what the data leave open about this approximation's parameters, not how far they are from the exact model's: "
    "accuracy() tells that, and more neighbors lessen it"
)


def summary(model: Any, errors: bool, accuracy: bool) -> Summary:
    """See :meth:`fastard.VecchiaGaussianProcess.summary`."""
    found, notes = model._errors() if errors else (None, [])
    told = str(model.accuracy()).splitlines() if accuracy else []
    approximate = [_APPROXIMATE] if found is not None and not accuracy else []
    facts = [
        *variances_of(model, found),
        ("Vecchia log likelihood", f"{model.log_likelihood:.6g} nats, blocks of {model.block_size} given {model.neighbors}"),
        *zip(("accuracy", *[""] * len(told)), told, strict=False),
        *search_of(model),
    ]
    return Summary(
        title=title_of(model),
        inputs=inputs_of(model, found),
        facts=facts,
        about_relevance=about_relevance(model),
        notes=[*about_fit(model), *(note.text for note in notes if note.about == "fit"), *approximate],  # others are remarks
        loo=None,
        standard_errors=found,
    )
