"""The command line, ``lift-xr``: arguments in, one verb called, an exit code out."""

from __future__ import annotations

import click

from lift_xr.cli.degrade import degrade
from lift_xr.cli.exits import Verbs
from lift_xr.cli.export import export
from lift_xr.cli.fit import fit
from lift_xr.cli.fuse import fuse
from lift_xr.cli.look import demo, info, status
from lift_xr.cli.plan import plan
from lift_xr.cli.score import score
from lift_xr.cli.unmix import unmix
from lift_xr.cli.verify import verify

__all__ = ["main"]

EPILOG = """\b
Start here:
  lift-xr demo                      see it work on a generated scene
  lift-xr info hsi.zarr mosaic.tif  what lift-xr sees in your files
  lift-xr fuse hsi.zarr mosaic.tif --srf ikonos --out fused.zarr

\b
Exit codes:
  0   done
  1   a bug: please report it with the traceback
  2   wrong usage or input
  3   some shards failed or are lost, or verify found damage: run again with --resume, or the
      parts that are named
  75  interrupted (Ctrl-C, SIGTERM): run again with --resume
"""


@click.group(
    cls=Verbs,
    name="lift-xr",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="lift-xr", prog_name="lift-xr")
@click.option(
    "--debug", is_flag=True, envvar="LIFT_XR_DEBUG", help="Show tracebacks (or LIFT_XR_DEBUG=1)."
)
def main(debug: bool) -> None:
    """Fine hyperspectral scenes from a coarse cube and a fine mosaic, at any size.

    A network learns, from the hyperspectral scene (HSI) and the multispectral mosaic (MSI) at hand,
    how colours become spectra, and lifts every pixel of the mosaic, block by block.
    """


for verb in (demo, info, fit, plan, fuse, status, verify, score, degrade, export, unmix):
    main.add_command(verb)
