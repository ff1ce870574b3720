"""All broken builds, a file for each room that is broken; ``mutations.py`` makes them."""

from tests.mutants.engine import ENGINE
from tests.mutants.files import FILES
from tests.mutants.formats import FORMATS
from tests.mutants.hooks import HOOKS
from tests.mutants.image import IMAGE
from tests.mutants.inference import INFERENCE
from tests.mutants.journal import JOURNAL
from tests.mutants.mutant import HOUSE, Mutant
from tests.mutants.network import NETWORK
from tests.mutants.others import OTHERS
from tests.mutants.outputs import OUTPUTS
from tests.mutants.sources import SOURCES
from tests.mutants.trust import TRUST

__all__ = ["HOUSE", "MUTANTS", "Mutant"]

MUTANTS = (
    *JOURNAL,
    *ENGINE,
    *OUTPUTS,
    *IMAGE,
    *INFERENCE,
    *TRUST,
    *FORMATS,
    *SOURCES,
    *HOOKS,
    *NETWORK,
    *FILES,
    *OTHERS,
)
