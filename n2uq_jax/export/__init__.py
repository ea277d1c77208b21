"""The integer model: thresholds read off the network's arithmetic, proven by enumeration."""

from n2uq_jax.export.artifact.artifact import Artifact as Artifact
from n2uq_jax.export.artifact.artifact import load_artifact as load_artifact
from n2uq_jax.export.artifact.manifest import ArtifactError as ArtifactError
from n2uq_jax.export.exported import Exported as Exported
from n2uq_jax.export.exported import export_model as export_model
from n2uq_jax.export.program.build import build_program as build_program
from n2uq_jax.export.program.program import IntegerProgram as IntegerProgram
from n2uq_jax.export.proof.proof import Proof as Proof
from n2uq_jax.export.proof.proof import prove as prove
