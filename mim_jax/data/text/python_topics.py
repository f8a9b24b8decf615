"""The English text that comes along: the topics of Python's own documentation.

topics.json.xz is `pydoc_data.topics` of CPython 3.11.7, unchanged, so that numbers are equal under
every Python; its licence is in topics.LICENSE.
"""

import functools
import json
import lzma
import pathlib

from mim_jax.data.text import chunks

FILE = pathlib.Path(__file__).with_name("topics.json.xz")
TEST = 0.2  # of each topic, its end

# Chapters of Python's documentation (its Language Reference, Library Reference) by their topics.
CHAPTERS = {
  "built-in types": "bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects "
  "specialattrs string-methods truth typesfunctions typesmapping typesmethods typesmodules "
  "typesseq typesseq-mutable",
  "compound statements": "async class compound else for function if try while with",
  "data model": "attribute-access callable-types context-managers customization numeric-types "
  "objects sequence-types specialnames types",
  "debugger": "debugger",
  "execution model": "dynamic-features exceptions execmodel naming",
  "expressions": "atom-identifiers atom-literals attribute-references await binary bitwise "
  "booleans calls comparisons conversions dict exprlists in lambda lists operator-summary power "
  "shifting slicings subscriptions unary yield",
  "lexical analysis": "floating id-classes identifiers imaginary integers numbers strings",
  "simple statements": "assert assignment augassign break continue del global import nonlocal pass "
  "raise return",
  "string formatting": "formatstrings",
}


def topics(*, split: str = "train", length: int = 128) -> chunks.Chunks:
  """Reads chunks of `length` bytes of Python's documentation, labelled by chapter.

  The last fifth of each topic is "test", the rest "train", "all" is both: no byte is in two splits,
  and every chapter is in both. A paragraph that stands in several topics counts in the shortest of
  them alone, so that nothing of "test" is in "train" again.
  """
  classes = tuple(CHAPTERS)
  parts: dict = {"train": [], "test": [], "all": []}
  for label, names in enumerate(CHAPTERS.values()):
    for name in names.split():
      start, end = halves(name)
      parts["train"].append((start, label))
      parts["test"].append((end, label))
  parts["all"] = parts["train"] + parts["test"]
  return chunks.chosen(parts, split, length, classes, "topics")


def halves(name: str) -> tuple[bytes, bytes]:
  """Divides a topic between training and test, where a paragraph ends."""
  return chunks.divided(once()[name].encode(), TEST, end=b"\n\n")


@functools.cache
def once() -> dict[str, str]:
  """Reads all topics, {name: text}, each paragraph in the shortest topic that has it alone."""
  found = json.loads(lzma.decompress(FILE.read_bytes()))
  known, kept = set(), {}
  for name in sorted(found, key=lambda name: (len(found[name]), name)):
    paragraphs = []
    for paragraph in found[name].split("\n\n"):
      plain = " ".join(paragraph.split())  # however it is indented there
      if plain and plain not in known:
        known.add(plain)
        paragraphs.append(paragraph)
    kept[name] = "\n\n".join(paragraphs)
  return kept
