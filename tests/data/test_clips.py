import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mim_jax import errors
from mim_jax.data import pipeline, sample_order
from mim_jax.data.image import sources
from mim_jax.data.video import clip_files, decoding, frames, moving

PLAIN = dict(mean=(0.0,), std=(1.0,))
draws = st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))


# --- Which frames ---------------------------------------------------------------------------------


@given(st.integers(1, 300), st.none() | draws, st.integers(1, 16), st.integers(1, 6))
def test_frames_are_evenly_spaced_and_lie_in_the_clip(count, chance, number, stride):
  found = frames.dense(count, chance, frames=number, stride=stride)
  assert found.shape == (number,)
  assert 0 <= found.min() <= found.max() < count
  if count >= number * stride:
    assert (np.diff(found) == stride).all()
  else:  # from the first on, then the last that is reached
    np.testing.assert_array_equal(found, np.minimum(stride * np.arange(number), found.max()))
    assert found.max() + stride >= count


def test_starts_are_uniform_and_in_the_middle_without_chance():
  starts = [
    frames.dense(70, tuple(row))[0] for row in sample_order.uniform(0, np.arange(3000), 2).tolist()
  ]
  np.testing.assert_allclose(np.bincount(starts, minlength=7) / 3000, 1 / 7, atol=0.03)
  np.testing.assert_array_equal(frames.dense(70, None), 3 + 4 * np.arange(16))


@given(st.integers(1, 80), st.none() | draws)
def test_the_second_frame_comes_later_by_the_published_distance(count, chance):
  first, second = frames.pair(count, chance)
  assert 0 <= first <= second < count
  assert min(4, count - 1) <= second - first <= min(47, count - 1)


def test_distances_are_uniform():
  pairs = np.array(
    [frames.pair(300, tuple(row)) for row in sample_order.uniform(1, np.arange(4000), 2).tolist()]
  )
  share = np.bincount(pairs[:, 1] - pairs[:, 0], minlength=48)[4:] / 4000
  assert len(share) == 44
  np.testing.assert_allclose(share, 1 / 44, atol=0.01)


def test_samples_that_cannot_be_are_explained():
  with pytest.raises(errors.InputError, match="must be at least 1"):
    frames.dense(9, None, frames=0)
  with pytest.raises(errors.InputError, match="low 5 to high 4"):
    frames.pair(9, None, low=5, high=4)


# --- Moving digits --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
  return moving.moving_digits(split="test", sample=functools.partial(frames.dense, stride=1))


def test_moving_digits_are_the_digits_of_their_split(digits):
  still = sources.digits(split="test")
  batch, images = digits[np.arange(len(digits))], still[np.arange(len(still))]
  assert batch["image"].shape == (359, 16, 12, 12, 1)
  np.testing.assert_array_equal(batch["label"], images["label"])
  np.testing.assert_array_equal(batch["size"], 12)
  assert digits.classes == still.classes
  # The same clips in every version: results are compared across them.
  assert digits.fingerprint == "5aa8b8570adfa470"
  whole = moving.moving_digits(split="train", sample=frames.dense)
  assert (len(whole), whole.names(np.array([3]))) == (1438, ["moving digits train 3"])


def test_a_lone_digit_is_seen_whole_in_every_frame_and_moves_at_its_speed(digits):
  still = sources.digits(split="test")
  alone = np.flatnonzero(digits._second < 0)
  assert 0.4 < len(alone) / len(digits) < 0.6
  for index in alone[:20].tolist():
    image = still[np.array([index])]["image"][0, ..., 0]
    seen = np.lib.stride_tricks.sliding_window_view(
      digits.frames(index, np.arange)[..., 0], (8, 8), (1, 2)
    )
    frame, *place = np.nonzero((seen == image).all((-2, -1)))
    np.testing.assert_array_equal(frame, np.arange(64))  # once in each
    steps = np.abs(np.diff(place, axis=1))
    assert (steps == 1).all()


def test_two_digits_are_of_one_class(digits):
  for index in np.flatnonzero(digits._second >= 0):
    assert digits.label[digits._second[index]] == digits.label[index]


@given(st.integers(-40, 40))
def test_bouncing_stays_inside_and_is_a_triangle_wave(place):
  here, there = moving.bounced(np.array([place, place + 1]), 4)
  assert 0 <= here <= 4
  assert abs(here - there) == 1
  np.testing.assert_array_equal(moving.bounced(np.array([place + 8, -place]), 4), here)


def test_a_camera_pans_over_ones_own_pictures(tmp_path):
  images = np.random.default_rng(0).integers(0, 256, (30, 10, 10, 3), np.uint8)
  np.savez(tmp_path / "own.npz", images=images, labels=np.arange(30) % 3)
  path = str(tmp_path / "own.npz")
  source = moving.moving_arrays(path=path, split="all", sample=frames.dense)
  assert source[np.arange(2)]["image"].shape == (2, 16, 10, 10, 3)
  np.testing.assert_array_equal(source.label, np.arange(30) % 3)
  for index in range(30):
    mirrored = np.pad(images[index], ((2, 3), (2, 3), (0, 0)), mode="reflect")
    all_places = np.lib.stride_tricks.sliding_window_view(mirrored, (10, 10), (0, 1))
    clip = np.moveaxis(source.frames(index, np.arange), -1, 1)  # [t c h w], as the windows are
    found = (all_places == clip[:, None, None]).all((-3, -2, -1))
    assert (found.sum((1, 2)) == 1).all()
    _, *place = np.nonzero(found)
    assert (np.abs(np.diff(place, axis=1)) == 1).all()
    assert {0, 5} <= set(np.ravel(place).tolist())  # it turns at the borders
  np.save(tmp_path / "wide.npy", images[:, :8])
  with pytest.raises(
    errors.InputError, match=r"pictures are 8 x 10 pixels, but .* square.*Crop them"
  ):
    moving.moving_arrays(path=str(tmp_path / "wide.npy"), split="all", sample=frames.dense)


# --- Training draws other frames each time; evaluations see the same --------------------------------


def test_frames_are_a_function_of_seed_and_position(digits):
  rows = np.arange(8)
  first, again, later, other = (
    digits.draw(rows, rows + start, seed)["image"]
    for start, seed in ((0, 0), (0, 0), (8, 0), (0, 1))
  )
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, later)
  assert not np.array_equal(first, other)
  np.testing.assert_array_equal(digits[rows]["image"], digits[rows]["image"])


def test_training_batches_resume_and_shard_exactly(digits):
  def read(**settings):
    return pipeline.batches(digits, 8, seed=3, threads=1, **settings)

  whole = read()
  first, second = next(whole)["image"], next(whole)["image"]
  cut = read()
  cut.set_state({"next_batch": 1})
  np.testing.assert_array_equal(next(cut)["image"], second)
  shards = [next(read(shard=(i, 2)))["image"] for i in (0, 1)]
  np.testing.assert_array_equal(np.concatenate(shards), first)


# --- Files ----------------------------------------------------------------------------------------


def write_frames(folder, count, value, size=(6, 8)):
  folder.mkdir(parents=True)
  for i in range(count):
    Image.new("RGB", size, (value + i, 0, 0)).save(folder / f"frame{i}.png")


def test_a_folder_of_frames_is_a_clip(tmp_path):
  for split, number in (("train", 3), ("test", 1)):
    for kind, value in (("jump", 0), ("walk", 100)):
      for i in range(number):
        write_frames(tmp_path / split / kind / f"clip{i}", 12, value + 20 * i)
  source = clip_files.clips(
    path=str(tmp_path), sample=functools.partial(frames.dense, frames=4, stride=3), canvas=8
  )
  assert (len(source), source.classes) == (6, ("jump", "walk"))
  batch = source[np.array([1, 3])]
  assert batch["image"].shape == (2, 4, 8, 8, 3)
  # Numbers by value: frame9 comes before frame10.
  np.testing.assert_array_equal(
    batch["image"][:, :, 0, 0, 0], [[20, 23, 26, 29], [100, 103, 106, 109]]
  )
  np.testing.assert_array_equal(batch["size"], [[8, 6], [8, 6]])
  np.testing.assert_array_equal(batch["label"], [0, 1])
  assert source.names(np.array([1])) == ["train/jump/clip1"]
  seen = source.fingerprint
  (tmp_path / "train/jump/clip1/frame3.png").unlink()
  fresh = clip_files.clips(path=str(tmp_path), sample=frames.dense, canvas=8)
  assert fresh.fingerprint != seen


def test_folders_without_clips_are_explained(tmp_path):
  with pytest.raises(errors.InputError, match="there is no folder"):
    clip_files.clips(path=str(tmp_path / "none"), sample=frames.dense)
  with pytest.raises(errors.InputError, match=r"holds no videos or folders of images.*\.mp4"):
    clip_files.clips(path=str(tmp_path), sample=frames.dense)
  Image.new("L", (4, 4)).save(tmp_path / "lone.png")
  with pytest.raises(errors.InputError, match="a folder of their own"):
    clip_files.clips(path=str(tmp_path), sample=frames.dense)


def test_frames_of_several_sizes_are_refused(tmp_path):
  write_frames(tmp_path / "clip", 2, 0)
  Image.new("RGB", (4, 4)).save(tmp_path / "clip" / "frame1.png")
  source = clip_files.clips(path=str(tmp_path), split="all", sample=frames.pair, canvas=8)
  with pytest.raises(errors.InputError, match=r"frame1\.png has \(4, 4\) pixels.*one size"):
    source[np.array([0])]


def test_videos_without_pyav_name_the_remedy(tmp_path, monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "av", None)
  (tmp_path / "clip.mp4").write_bytes(b"nothing")
  source = clip_files.clips(path=str(tmp_path), split="all", sample=frames.dense)
  with pytest.raises(errors.InputError, match=r"need PyAV.*pip install 'mim-jax\[video\]'"):
    source[np.array([0])]


def write_video(path, count, codec="mpeg4", size=(48, 32)):
  """Frame i is grey of brightness 5 i, with key frames every 12."""
  av = pytest.importorskip("av")
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    stream.codec_context.gop_size = 12
    for i in range(count):
      frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), 5 * i, np.uint8), format="rgb24")
      container.mux(stream.encode(frame))
    container.mux(stream.encode())


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_the_frames_asked_for_are_read_wherever_they_are(tmp_path, name):
  write_video(tmp_path / name, 40)
  for canvas, shape in ((48, (32, 48)), (24, (16, 24))):
    decoder = clip_files.decode.Decoder(canvas, 3)
    counts = []

    def choice(count, counts=counts):
      counts.append(count)
      return np.array([0, 3, 17, 17, 30, 39])

    found = decoding.read(str(tmp_path / name), choice, decoder)
    assert found.shape == (6, *shape, 3)
    assert counts == [40]
    np.testing.assert_allclose(found.mean((1, 2, 3)), 5 * choice(40), atol=4)
  late = decoding.read(str(tmp_path / name), lambda count: np.array([38, 45]), decoder)
  np.testing.assert_allclose(late.mean((1, 2, 3)), [190, 195], atol=4)  # the last stands for later
  grey = clip_files.clips(
    path=str(tmp_path), split="all", sample=frames.pair, canvas=48, channels=1
  )
  assert grey[np.array([0])]["image"].shape == (1, 2, 48, 48, 1)
  assert grey.fingerprint


def test_videos_that_cannot_be_read_are_named(tmp_path):
  pytest.importorskip("av")
  playlist = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://localhost:1/x.ts\n#EXT-X-ENDLIST\n"
  )
  (tmp_path / "list.mp4").write_text(playlist)
  (tmp_path / "noise.mkv").write_bytes(bytes(range(256)) * 8)
  decoder = clip_files.decode.Decoder(8, 3)
  for name in ("list.mp4", "noise.mkv"):
    with pytest.raises(errors.InputError, match=rf"{name} cannot be read as a video"):
      decoding.read(str(tmp_path / name), np.arange, decoder)
  write_video(tmp_path / "large.mp4", 2)
  with pytest.raises(errors.InputError, match="1536 pixels, more than the limit of 1000"):
    small = clip_files.decode.Decoder(8, 3, limits=(1000, 1000))
    decoding.read(str(tmp_path / "large.mp4"), np.arange, small)
