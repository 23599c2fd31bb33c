"""Do drawn faces move as the actions say, and is everything else left alone?"""

import numpy as np
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.synthetic.actions import ACTIONS, INDEX, N_ACTIONS, action_vector
from emoclip_clinical.study.synthetic.appearance import Identity, Scene, draw_identity, draw_scene
from emoclip_clinical.study.synthetic.faces import CHUNK_FRAMES, render_faces, render_stream

SIZE = 96


def _plain_face() -> tuple[Identity, Scene]:
    """A light, shaven face without glasses, in the middle of the picture, without noise."""
    identity = Identity(
        skin=(230.0, 190.0, 160.0), hair=(50.0, 35.0, 28.0), iris=(70.0, 100.0, 140.0),
        lips=(190.0, 60.0, 66.0), clothes=(60.0, 90.0, 150.0), hair_style="bald",
        head_width=0.8, jaw_taper=0.1, hairline=-0.66, eye_distance=0.33, eye_height=-0.12,
        eye_width=0.17, eye_opening=0.095, eye_tilt=0.0, brow_height=0.22, brow_arch=0.03,
        brow_thickness=0.035, nose_length=0.32, nose_width=0.12, mouth_height=0.53,
        mouth_width=0.27, lip_thickness=0.055, blush=0.0, beard=0.0, glasses=False,
        freckles=False,
    )  # fmt: skip
    scene = Scene(
        background=(200.0, 200.0, 200.0), background_slope=0.0, centre_x=0.5, centre_y=0.5,
        head_share=0.9, light_degrees=0.0, light_strength=0.0, exposure=1.0, warmth=0.0,
        noise_sd=0.0,
    )  # fmt: skip
    return identity, scene


def _draw(**intensities: float) -> np.ndarray:
    identity, scene = _plain_face()
    return render_faces(
        action_vector(**intensities)[None],
        identity=identity,
        scene=scene,
        rng=np.random.default_rng(0),
        size_pixels=SIZE,
    )[0].astype(float)


def _box(x: tuple[float, float], y: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of a rectangle in the head's units, from the scene's geometry by hand."""
    unit = 0.9 * SIZE / 2
    rows, columns = (
        slice(round(SIZE / 2 + low * unit), round(SIZE / 2 + high * unit)) for low, high in (y, x)
    )
    return rows, columns


def _height_of(mask: np.ndarray) -> float:
    """Mean row of a mask's pixels."""
    return float(np.nonzero(mask)[0].mean())


def _reddish(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0] - picture[..., 1] > 70


def _dark(picture: np.ndarray) -> np.ndarray:
    return picture.mean(axis=-1) < 105


MOUTH = ((-0.45, 0.45), (0.3, 0.95))
LEFT_EYE = ((-0.5, -0.16), (-0.32, 0.08))
LEFT_BROW = ((-0.58, -0.08), (-0.62, -0.23))


def _corner_heights(picture: np.ndarray) -> tuple[float, float]:
    """Rows of the mouth's left and right end."""
    lips = _reddish(picture[_box(*MOUTH)])
    columns = np.nonzero(lips.any(axis=0))[0]
    return _height_of(lips[:, columns[:3]]), _height_of(lips[:, columns[-3:]])


def test_pulling_the_lip_corners_raises_them_and_depressing_lowers_them():
    rest, smile, sad = (
        np.mean(_corner_heights(_draw(**what)))
        for what in ({}, {"lip_corner_pull": 1.0}, {"lip_corner_depress": 1.0})
    )
    assert smile < rest - 2
    assert sad > rest + 2


def test_a_smirk_raises_the_corner_of_its_side_alone():
    rest_left, rest_right = _corner_heights(_draw())
    left, right = _corner_heights(_draw(smirk=1.0))
    assert right < rest_right - 2
    assert abs(left - rest_left) < 1
    mirrored, rows = _draw(smirk=-1.0)[:, ::-1], _box(*MOUTH)[0]
    np.testing.assert_allclose(mirrored[rows], _draw(smirk=1.0)[rows], atol=2)


def test_stretching_widens_the_mouth():
    def width(picture: np.ndarray) -> int:
        return int(_reddish(picture[_box(*MOUTH)]).any(axis=0).sum())

    assert width(_draw(lip_stretch=1.0)) > width(_draw()) + 5


def test_dropping_the_jaw_opens_the_mouth():
    def inside(picture: np.ndarray) -> int:
        mouth = picture[_box(*MOUTH)]
        return int((_dark(mouth) | (mouth.min(axis=-1) > 215)).sum())

    areas = [inside(_draw(jaw_drop=opening)) for opening in (0.0, 0.5, 1.0)]
    assert areas[0] + 20 < areas[1]
    assert areas[1] + 20 < areas[2]


def test_pressing_thins_the_lips():
    def lip_area(picture: np.ndarray) -> int:
        return int(_reddish(picture[_box(*MOUTH)]).sum())

    assert lip_area(_draw(lip_press=1.0)) < 0.7 * lip_area(_draw())


def test_lids_open_and_close_the_eye():
    def white(picture: np.ndarray) -> int:
        return int((picture[_box(*LEFT_EYE)].min(axis=-1) > 200).sum())

    closed, narrow, rest, wide = (
        white(_draw(**what))
        for what in ({"lid_close": 1.0}, {"lid_close": 0.4}, {}, {"lid_raise": 1.0})
    )
    assert closed == 0
    assert narrow < rest < wide


def test_brows_rise_and_fall_at_the_end_that_is_moved():
    def ends(picture: np.ndarray) -> tuple[float, float]:
        brow = _dark(picture[_box(*LEFT_BROW)])
        columns = np.nonzero(brow.any(axis=0))[0]
        return _height_of(brow[:, columns[-4:]]), _height_of(brow[:, columns[:4]])

    rest_inner, rest_outer = ends(_draw())
    inner, outer = ends(_draw(brow_inner_raise=0.8))
    assert inner < rest_inner - 3
    assert abs(outer - rest_outer) < 1.5
    inner, outer = ends(_draw(brow_outer_raise=0.8))
    assert outer < rest_outer - 3
    assert abs(inner - rest_inner) < 1.5
    lowered_inner, _ = ends(_draw(brow_lower=0.8))
    assert lowered_inner > rest_inner + 1


def test_gaze_moves_the_iris():
    def pupil_column(picture: np.ndarray) -> float:
        eye = picture[_box((-0.5, -0.16), (-0.18, -0.06))]
        return float(np.nonzero(eye.mean(axis=-1) < 60)[1].mean())

    assert pupil_column(_draw(gaze_right=1.0)) > pupil_column(_draw(gaze_right=-1.0)) + 2


@pytest.mark.parametrize(("angle", "axis"), [("head_yaw_degrees", 1), ("head_pitch_degrees", 0)])
def test_turning_and_nodding_move_the_mouth(angle, axis):
    def place(degrees: float) -> float:
        lips = _reddish(_draw(**{angle: degrees}))
        return float(np.nonzero(lips)[axis].mean())

    assert place(-20) + 3 < place(0) < place(20) - 3


def test_each_action_changes_the_picture():
    rest = _draw()
    for name in ACTIONS:
        assert np.abs(_draw(**{name: 8.0 if name.endswith("degrees") else 0.8}) - rest).max() > 20


def test_frames_are_independent_of_how_many_are_drawn_at_once():
    identity, scene = _plain_face()
    rng = np.random.default_rng(1)
    actions = np.zeros((CHUNK_FRAMES + 5, N_ACTIONS), dtype=np.float32)
    actions[:, INDEX["jaw_drop"]] = rng.random(len(actions))
    actions[:, INDEX["head_roll_degrees"]] = rng.normal(0, 5, len(actions))
    together = render_faces(actions, identity=identity, scene=scene, rng=rng)
    alone = [render_faces(row[None], identity=identity, scene=scene, rng=rng)[0] for row in actions]
    difference = np.abs(together.astype(int) - np.stack(alone).astype(int))
    assert difference.max() <= 1
    stream = list(render_stream(actions, identity=identity, scene=scene, rng=rng))
    assert [len(chunk) for chunk in stream] == [CHUNK_FRAMES, 5]


@pytest.mark.parametrize("seed", range(12))
def test_any_person_in_any_scene_can_be_drawn(seed):
    rng = np.random.default_rng(seed)
    frames = render_faces(
        np.zeros((2, N_ACTIONS), dtype=np.float32),
        identity=draw_identity(rng),
        scene=draw_scene(rng),
        rng=rng,
        size_pixels=64,
    )
    assert frames.shape == (2, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 15


def test_same_seed_draws_the_same_picture():
    def once() -> np.ndarray:
        rng = np.random.default_rng(7)
        identity, scene = draw_identity(rng), draw_scene(rng)
        return render_faces(action_vector()[None], identity=identity, scene=scene, rng=rng)

    np.testing.assert_array_equal(once(), once())


def test_bad_actions_are_all_named():
    with pytest.raises(InputError) as caught:
        action_vector(jaw_drop=1.5, wink=1.0)
    assert len(caught.value.faults) == 2
    identity, scene = _plain_face()
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="shape"):
        render_faces(np.zeros((3, 2), np.float32), identity=identity, scene=scene, rng=rng)
    broken = np.full((1, N_ACTIONS), np.nan, np.float32)
    with pytest.raises(InputError, match="finite"):
        render_faces(broken, identity=identity, scene=scene, rng=rng)
