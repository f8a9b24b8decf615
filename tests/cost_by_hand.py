"""FLOPs of a forward pass through common layers, for one image; a product with its sum counts 2.

Products alone are counted: norms, softmax and activations come to one or two percent. Training
costs three times the forward pass (`TRAIN`); a network that is not trained costs it once. Letters:
n tokens, d width, a inputs, b outputs, k kernel side.
"""

Number = int | float

TRAIN = 3.0  # forward, gradient of the inputs, gradient of the weights


def dense(n: Number, a: Number, b: Number) -> float:
  """Counts a linear layer on n vectors, from width a to width b."""
  return 2.0 * n * a * b


def attention(
  n: Number, d: Number, keys: Number | None = None, width: Number | None = None
) -> float:
  """Counts attention of n queries, width d, over `keys` (n) of `width` (d), four projections."""
  keys, width = n if keys is None else keys, d if width is None else width
  return 2.0 * dense(n, d, d) + 2.0 * dense(keys, width, d) + 4.0 * n * keys * d


def mlp(n: Number, d: Number, ratio: Number = 4.0) -> float:
  """Counts two linear layers on n tokens, d -> ratio d -> d."""
  return 2.0 * dense(n, d, ratio * d)


def stack(n: Number, d: Number, depth: int, ratio: Number = 4.0) -> float:
  """Counts a transformer on n tokens, width d: depth (24 n d^2 + 4 n^2 d) at mlp ratio 4."""
  return depth * (attention(n, d) + mlp(n, d, ratio))


def convolution(h: int, w: int, k: int, a: int, b: int, groups: int = 1, stride: int = 1) -> float:
  """Counts a k x k convolution from a to b channels whose output has h x w sites.

  Counted as XLA counts: only where the kernel lies on the signal, which is zero-padded so that the
  output has 1 / stride of its sides. On small maps that is notably less than k^2 a site. A
  transposed convolution of a [h w] map costs what the strided one costs that makes a [h w] map.
  """
  return 2.0 * _taps(h, k, stride) * _taps(w, k, stride) * (a // groups) * b


def resnet(side: int, channels: int, depths: tuple[int, ...], width: int, stem: int) -> float:
  """Counts a ResNet of bottleneck blocks on images of `side` pixels, as encoders.ResNet."""
  h, a = side // stem, width
  kernel, step = (3, 1) if stem == 1 else (7, 2)
  total = convolution(side // step, side // step, kernel, channels, width, stride=step)
  for stage, depth in enumerate(depths):
    b, stride = width << stage, 2 if stage else 1
    total += convolution(h, h, 1, a, b)
    h = h // stride
    total += convolution(h, h, 3, b, b, stride=stride) + convolution(h, h, 1, b, 4 * b)
    total += convolution(h, h, 1, a, 4 * b, stride=stride)  # the shortcut
    further = convolution(h, h, 1, 4 * b, b) + convolution(h, h, 3, b, b)
    total += (depth - 1) * (further + convolution(h, h, 1, b, 4 * b))
    a = 4 * b
  return total


def convnext(
  side: int, channels: int, depths: tuple[int, ...], widths: tuple[int, ...], stem: int
) -> float:
  """Counts a ConvNeXt on images of `side` pixels, as encoders.ConvNeXt."""
  h, a = side // stem, widths[0]
  total = convolution(h, h, 3 if stem == 1 else stem, channels, a, stride=stem)
  for stage, (depth, b) in enumerate(zip(depths, widths, strict=True)):
    if stage:
      h = h // 2
      total += convolution(h, h, 2, a, b, stride=2)
    total += depth * (convolution(h, h, 7, b, b, groups=b) + mlp(h * h, b))
    a = b
  return total


def unet(grid: int, channels: int, widths: tuple[int, ...], width: int, patch: int) -> float:
  """Counts the decoder predictors.UNet on maps of `widths`, coarsest first, `grid` sites wide."""
  total, h = 0.0, grid
  for i in range(patch.bit_length()):
    b = width >> i
    if i < len(widths) and (i or widths[i] != b):
      total += convolution(h, h, 3 if i else 1, widths[i], b)
    if h == grid * patch:
      return total + convolution(h, h, 1, b, channels)
    total += convolution(h, h, 4, b, b, stride=2)
    h = 2 * h
    total += convolution(h, h, 3, b, b) + convolution(h, h, 3, b, b // 2)
  raise ValueError(f"unet: patch {patch} is not a power of two")


def _taps(outputs: int, k: int, stride: int) -> int:
  """Counts pairs of an output and an input that meet along one axis."""
  inputs, padding = outputs * stride, (k - stride + 1) // 2
  first = (stride * i - padding for i in range(outputs))
  return sum(min(i + k, inputs) - max(i, 0) for i in first)
