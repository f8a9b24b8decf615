"""A flow as an inline SVG: ranks from top to bottom, arrows around what lies between."""

import html
import itertools

from docs.generate.flow import Flow, Node

NARROW, HEIGHT, ACROSS, DOWN, THIN = 130, 58, 22, 40, 26
LETTERS = {"role": 8.2, "part": 7.3, "gives": 6.4}  # how wide a letter is at most
SWEEPS = 12
READABLE = 0.6  # how much smaller a picture may be shown; then it scrolls


def svg(flow: Flow, label: str) -> str:
  """The picture, as wide as the page where that is narrower; colours follow the page's."""
  ranks, links = _ranks(flow)
  places = _places(flow, _ordered(ranks, links))
  wide = max(x + _wide(flow, n) / 2 for n, (x, _) in places.items()) + 4
  high = max(y for _, y in places.values()) + HEIGHT + 4
  arrows = [_arrow(flow, places, chain) for chain in _chains(flow, links)]
  boxes = [_box(node, *places[i], _wide(flow, i)) for i, node in enumerate(flow.nodes)]
  return (
    f'<div class="flow"><svg role="img" aria-label="{html.escape(label)}" '
    f'style="min-width: {READABLE * wide:.0f}px; max-width: {wide:.0f}px"'
    f' viewBox="0 0 {wide:.0f} {high:.0f}" xmlns="http://www.w3.org/2000/svg">'
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
    + "".join(arrows + boxes)
    + "</svg></div>"
  )


def _ranks(flow: Flow) -> tuple[list[list], set]:
  """Nodes by their longest way from a source; an arrow over several ranks goes by way stations.

  What reads nothing stands right above what reads it first.
  """
  count = len(flow.nodes)
  rank = [0] * count
  for number in range(count):
    rank[number] = max((rank[a] + 1 for a, b in flow.arrows if b == number), default=0)
  for number in range(count):
    if not any(b == number for _, b in flow.arrows):
      rank[number] = min(rank[b] for a, b in flow.arrows if a == number) - 1
  ranks: list[list] = [[n for n in range(count) if rank[n] == r] for r in range(max(rank) + 1)]
  links = set()
  for a, b in flow.arrows:
    chain = [a, *((a, b, r) for r in range(rank[a] + 1, rank[b])), b]
    for station in chain[1:-1]:
      ranks[station[2]].append(station)
    links |= set(itertools.pairwise(chain))
  return ranks, links


def _ordered(ranks: list[list], links: set) -> list[list]:
  """Each rank by the mean place of its neighbours, back and forth, so that few arrows cross."""
  best = ranks
  for sweep in range(SWEEPS):
    turned = sweep % 2
    order = ranks[::-1] if turned else ranks
    done = [order[0]]
    for rank in order[1:]:
      place = {n: i for i, n in enumerate(done[-1])}
      pairs = [(b, a) for a, b in links] if turned else links

      def middle(n, place=place, rank=rank, pairs=pairs):
        near = [place[a] for a, b in pairs if b == n and a in place]
        return sum(near) / len(near) if near else float(rank.index(n))

      done.append(sorted(rank, key=middle))
    ranks = done[::-1] if turned else done
    if _crossings(ranks, links) < _crossings(best, links):
      best = ranks
  return best


def _crossings(ranks: list[list], links: set) -> int:
  place = {n: i for rank in ranks for i, n in enumerate(rank)}
  level = {n: r for r, rank in enumerate(ranks) for n in rank}
  pairs = [(level[a], place[a], place[b]) for a, b in links]
  return sum(
    r == s and (a - c) * (b - d) < 0 for i, (r, a, b) in enumerate(pairs) for s, c, d in pairs[:i]
  )


def _wide(flow: Flow, n) -> float:
  """A box is as wide as its longest line, a way station is narrow."""
  if not isinstance(n, int):
    return THIN
  return max(NARROW, *(22 + LETTERS[kind] * len(text) for kind, text in _lines(flow.nodes[n])))


def _lines(node: Node) -> list[tuple[str, str]]:
  """Role, part and what comes out."""
  times = f" × {node.times}" if node.times > 1 else ""
  lines = [("role", node.role + times), ("part", node.part), ("gives", node.gives)]
  return [(kind, text) for kind, text in lines if text]


def _places(flow: Flow, ranks: list[list]) -> dict:
  """The middle of the upper edge of every node and way station."""
  rows = [sum(_wide(flow, n) for n in rank) + ACROSS * (len(rank) - 1) for rank in ranks]
  places = {}
  for r, rank in enumerate(ranks):
    x = 4 + (max(rows) - rows[r]) / 2
    for n in rank:
      places[n] = (x + _wide(flow, n) / 2, 4 + r * (HEIGHT + DOWN))
      x += _wide(flow, n) + ACROSS
  return places


def _chains(flow: Flow, links: set) -> list[list]:
  """Each arrow as its start, way stations and end."""
  return [
    [a, *sorted({n for n in (m for link in links for m in link)
                 if isinstance(n, tuple) and n[:2] == (a, b)}, key=lambda n: n[2]), b]
    for a, b in sorted(flow.arrows)
  ]  # fmt: skip


def _arrow(flow: Flow, places: dict, chain: list) -> str:
  x, y = places[chain[0]]
  path, y = f"M{x:.0f} {y + HEIGHT:.0f}", y + HEIGHT
  for n in chain[1:]:
    to_x, to_y = places[n]
    half = (to_y - y) / 2
    path += f" C{x:.0f} {y + half:.0f} {to_x:.0f} {to_y - half:.0f} {to_x:.0f} {to_y:.0f}"
    x, y = to_x, to_y
    if isinstance(n, tuple):
      y = to_y + HEIGHT
      path += f" L{x:.0f} {y:.0f}"
  return f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>'


def _box(node: Node, x: float, y: float, wide: float) -> str:
  """A box with its lines; dashed for a teacher, round for what has no parameters."""
  kind = "network" if node.learned else "plain" if node.room else "end"
  teacher = " teacher" * node.role.startswith("teacher")
  lines = _lines(node)
  start = y + HEIGHT / 2 - 17 * (len(lines) - 1) / 2 + 4
  text = "".join(
    f'<text class="{c}" x="{x:.0f}" y="{start + 17 * i:.0f}">{html.escape(line)}</text>'
    for i, (c, line) in enumerate(lines)
  )
  corner = HEIGHT / 2 if kind == "plain" else 8
  return (
    f'<g class="{kind}{teacher}"><rect x="{x - wide / 2:.0f}" y="{y:.0f}" '
    f'width="{wide:.0f}" height="{HEIGHT}" rx="{corner:.0f}"/>{text}</g>'
  )
