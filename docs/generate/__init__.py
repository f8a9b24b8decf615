"""The pages that are made, not written: reference and gallery, from code, configs and records."""

import pathlib

from docs.generate import api, configuration, gallery

FOLDER = pathlib.Path(__file__).parents[1] / "generated"


def write(folder: pathlib.Path = FOLDER) -> None:
  """Writes all made pages into `folder`, and leaves there nothing else.

  A page that has not changed is left alone, so that Sphinx need not read it again.
  """
  pages = {**api.pages(), **configuration.pages(), **gallery.pages()}
  for name, content in pages.items():
    path, data = folder / name, content if isinstance(content, bytes) else content.encode()
    if not path.exists() or path.read_bytes() != data:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(data)
  for path in folder.rglob("*"):
    if path.is_file() and str(path.relative_to(folder)) not in pages:
      path.unlink()
