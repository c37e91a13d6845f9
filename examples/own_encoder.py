"""Search with an encoder of your own: any ONNX file that turns pictures into unit vectors.

    python examples/own_encoder.py photos/ own-search/

The contract of an encoder is short: one input `images`, uint8 RGB (b, s, s, 3) with the side s of the preprocessing, 224
here; one output `embeddings`, float32 (b, d), rows of unit norm. Normalisation
belongs inside the graph, so that no process can get it wrong. This example writes such a graph
by hand, colours on a coarse grid, in place of your trained network; everything after `seal_artifact` is the usual pipeline.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.catalogue import step as catalogue_step
from components.catalogue.parameters import CatalogueParameters
from components.embedding import step as embedding_step
from components.embedding.parameters import EmbeddingParameters
from components.indexing import step as indexing_step
from components.indexing.parameters import IndexingParameters
from components.shared.files.artifacts import seal_artifact
from components.shared.files.tables import ITEMS, read_table
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.golden import embed_pictures
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder, read_encoder_spec, write_encoder_spec
from components.shared.vectors.search import CatalogueIndex

GRID = 4  # the picture is averaged to GRID × GRID colours
DIMENSION = 3 * GRID * GRID + 1


def write_encoder(directory: Path) -> None:
    """Write `encoder.onnx`, its description `encoder.json` and the table of contents, as the training step does."""
    side = 224 // GRID
    constants = {
        "middle": np.array(127.5, np.float32),
        "one_more": np.array(
            [0, 0, 0, 1], np.int64
        ),  # a constant last component, so that no picture gives a zero vector
        "constant": np.array(40, np.float32),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "middle"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["means"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Flatten", ["means"], ["colours"], axis=1),
        helper.make_node("Pad", ["colours", "one_more", "constant"], ["features"]),
        helper.make_node("ReduceL2", ["features", "axes"], ["norms"], keepdims=1),
        helper.make_node("Div", ["features", "norms"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", 224, 224, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["b", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ENCODER_FILE).write_bytes(model.SerializeToString(deterministic=True))
    write_encoder_spec(
        directory, architecture="colours", dimension=DIMENSION, preprocessing=PreprocessingSpec(), training={}
    )
    seal_artifact(directory, "training")


def main(pictures: Path, work: Path) -> list[str]:
    """Index a folder with this encoder and return the ids of the images nearest to the first one."""
    write_encoder(work / "encoder")
    places = {"workspace": work / "workspace"}
    catalogue_step.run(images=str(pictures), destination=work / "catalogue", parameters=CatalogueParameters(), **places)
    embedding_step.run(
        catalogue=work / "catalogue",
        encoder=work / "encoder",
        previous=None,
        destination=work / "embeddings",
        parameters=EmbeddingParameters(),
        **places,
    )
    indexing_step.run(
        catalogue=work / "catalogue",
        embeddings=work / "embeddings",
        destination=work / "index",
        parameters=IndexingParameters(),
        **places,
    )
    spec, encoder = read_encoder_spec(work / "encoder"), OnnxEncoder(work / "encoder" / ENCODER_FILE)
    index = CatalogueIndex.open(work / "index")
    items = read_table(work / "index" / "items.parquet", ITEMS).to_pylist()
    query = embed_pictures([Path(items[0]["uri"]).read_bytes()], encoder, spec.preprocessing)
    found = index.search(query, min(5, len(items)))
    print(f"space {spec.space_id}; nearest to {items[0]['image_id']}:")
    for row, score in zip(found.rows[0], found.scores[0], strict=True):
        print(f"  {score:.3f}  {items[row]['image_id']}")
    return [items[row]["image_id"] for row in found.rows[0]]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
