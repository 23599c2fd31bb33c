"""The supplement of an estimate as plain values, for ``metrics.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.comparison import Comparison, Gain
from emoclip_clinical.regression.confounds import ConfoundAnalysis
from emoclip_clinical.regression.inference import exchange_words
from emoclip_clinical.regression.metrics import Metrics, summarise
from emoclip_clinical.regression.resampling import Interval
from emoclip_clinical.regression.supplement import Supplement

Record = dict[str, object]


def supplement_record(made: Estimate, more: Supplement) -> Record:
    """Return the further sections of ``metrics.json``; what is not defined is None."""
    return {
        "models": models_record(made, more),
        "confounds": _confounds(more.confounds, within_sites=made.sites is not None),
        "quality_alone": _confounds(more.quality, within_sites=made.sites is not None),
        "intervals": None if more.intervals is None else plain(more.intervals),
        "icc_predicted": [plain(icc) for icc in more.agreement],
        "limits_of_agreement": plain(more.limits),
        "kappa": more.kappa,
        "repeated_visits": plain(more.visits),
        "human_ceiling": plain(more.ceiling),
        "subgroups": [plain(group) for group in more.subgroups],
        "sensitivity": [plain(one) for one in more.sensitivity],
        "learning_curve": {
            **_mapping(plain(more.curve)),
            "points": [{**_mapping(plain(p)), "rmse": p.mse**0.5} for p in more.curve.points],
        },
        "importance": [plain(one) for one in more.importance],
        "audit": {**_mapping(plain(more.audit)), "fitted": dict(more.audit.fitted)},
    }


def models_record(made: Estimate, more: Supplement) -> list[Record]:
    """Return a row a model: the main one, the others, and the baselines.

    Each has `name`, `role` (``main``, ``compared`` or ``baseline``), `n_subjects`, r pooled and
    within folds, MAE, RMSE, skill, and where it stands beside the main one `mae_less_main` with
    its interval and the p of the corrected t.
    """
    m, n = made.metrics, made.design.n_subjects
    rows = [_row(made.config.model, "main", n, m)]
    rows += [
        {**_row(name, "compared", n, summarise(made.compared[name])), **_beside(comparison)}
        for name, comparison in more.compared.items()
    ]
    rows.append(
        {
            **_row("dummy", "baseline", n, m),
            "pearson_pooled": None,
            "pearson_fold_mean": None,
            "mae": m.baseline_mae,
            "rmse": m.baseline_rmse,
            "skill": 0.0 if m.skill is not None else None,
        }
    )
    for name, analysis in (("covariates", more.confounds), ("quality", more.quality)):
        if analysis is not None:
            n_here = int(analysis.confounds_only.keys["participant_id"].nunique())
            alone, both = summarise(analysis.confounds_only), summarise(analysis.combined)
            rows.append(_row(f"{name}_only", "baseline", n_here, alone))
            rows.append(_row(f"{name}_and_video", "baseline", n_here, both))
    return rows


def plain(value: object) -> object:
    """Return records as mappings, tuples as lists, numbers as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value


def _row(name: str, role: str, n_subjects: int, m: Metrics) -> Record:
    return {
        "name": name,
        "role": role,
        "n_subjects": n_subjects,
        "pearson_pooled": m.pearson_pooled,
        "pearson_fold_mean": m.pearson_fold_mean,
        "mae": m.mae,
        "rmse": m.rmse,
        "skill": m.skill,
    }


def _beside(comparison: Comparison) -> Record:
    t = comparison.corrected_t
    return {
        "r_less_main": _gain(comparison.r),
        "mae_less_main": _gain(comparison.mae),
        "p_corrected_t": None if t is None else t.p,
    }


def _gain(gain: Gain) -> Record:
    return {"value": gain.value, **_ends(gain.interval), "ci_conditional": _ends(gain.conditional)}


def _ends(interval: Interval) -> Record:
    return {"ci_low": interval.low, "ci_high": interval.high, "ci_method": interval.method}


def _confounds(analysis: ConfoundAnalysis | None, *, within_sites: bool) -> Record | None:
    if analysis is None:
        return None
    residualised, video = summarise(analysis.residualised), summarise(analysis.video)
    return {
        "names": list(analysis.names),
        "columns": list(analysis.columns),
        "model": "ridge",
        "n_visits_left_out": analysis.n_left_out,
        "alone": {
            "pearson_pooled": analysis.confounds_r,
            **_ends(analysis.confounds_interval),
            "p_permutation": analysis.confounds_p,
            "null": exchange_words(within_sites=False),
        },
        "video_pearson_pooled": video.pearson_pooled,
        "combined_pearson_pooled": analysis.combined_r,
        "residualised_pearson_pooled": residualised.pearson_pooled,
        "gain_r": _gain(analysis.gain),
        "gain_skill": _gain(analysis.skill_gain),
        "p_gain_freedman_lane": analysis.gain_p,
        "null_gain": "residuals given the confounds (Freedman-Lane), "
        f"{exchange_words(within_sites=within_sites)}",
        "n_permutations": analysis.n_permutations,
        "partial_r": analysis.partial_r,
    }


def _mapping(value: object) -> Record:
    assert isinstance(value, dict)
    return value
