"""``python -m emoclip_clinical``: the command line."""

from emoclip_clinical.cli import app

if __name__ == "__main__":
    app(prog_name="emoclip-clinical")
