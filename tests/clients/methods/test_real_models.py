"""The real transformers and sentence-transformers, with tiny models that are made on the spot, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trisignal.testing import Seen

pytestmark = pytest.mark.instruments("transformers", "sentence-transformers")

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "where", "is", "my", "parcel", "here", "soon")


def tokenizer() -> Any:
    """Knows a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    plain = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=plain, model_max_length=32, **special)


def writer(folder: Path) -> str:
    """A model that continues texts, in a folder."""
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_positions=32, n_embd=8, n_layer=1, n_head=1, bos_token_id=2, eos_token_id=3
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def reader(folder: Path, *, ranks: bool = False) -> str:
    """A model that embeds texts, or ranks pairs of them."""
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=32, num_labels=1,
    )  # fmt: skip
    kind = transformers.BertForSequenceClassification if ranks else transformers.BertModel
    kind(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_text_is_continued(seen: Seen, tmp_path: Path) -> None:
    """One call per pipeline call, a list of texts too; the name is that of the folder, without the path to it."""
    pipeline = transformers.pipeline("text-generation", model=writer(tmp_path / "tiny-writer"))
    for given in ("where is", ["where is", "my parcel"]):
        assert pipeline(given, max_new_tokens=3)
    assert [span.name for span in seen.spans] == ["text_completion tiny-writer"] * 2
    assert {dict(span.attributes or {})["gen_ai.provider.name"] for span in seen.spans} == {"transformers"}


def test_features(seen: Seen, tmp_path: Path) -> None:
    """They are embeddings."""
    transformers.pipeline("feature-extraction", model=reader(tmp_path / "tiny-reader"))("where is my parcel")
    assert seen.span.name == "embeddings tiny-reader"


def test_a_pipeline_that_fails(seen: Seen, tmp_path: Path) -> None:
    """It is an error, and the application's exception."""
    pipeline = transformers.pipeline("text-generation", model=writer(tmp_path / "tiny-writer"))
    with pytest.raises(Exception):
        pipeline(7, max_new_tokens=3)
    assert seen.value("llm_requests_total", llm_outcome="error") == 1


def test_sentences_are_embedded(seen: Seen, tmp_path: Path) -> None:
    """A query that is embedded by the general method is one call; the dimension is that of the vectors."""
    package: Any = pytest.importorskip("sentence_transformers")
    model = package.SentenceTransformer(reader(tmp_path / "tiny-reader"))
    assert model.encode(["where is", "my parcel"]).shape == (2, 8)
    assert model.encode_query("where is").shape == (8,)
    assert [span.name for span in seen.spans] == ["embeddings tiny-reader"] * 2
    assert {dict(span.attributes or {})["gen_ai.embeddings.dimension.count"] for span in seen.spans} == {8}


def test_pairs_are_ranked(seen: Seen, tmp_path: Path) -> None:
    """Ranking is one call, whatever it is made of."""
    package: Any = pytest.importorskip("sentence_transformers")
    model = package.CrossEncoder(reader(tmp_path / "tiny-ranker", ranks=True))
    assert len(model.rank("where is my parcel", ["here", "soon"])) == 2
    assert [span.name for span in seen.spans] == ["rerank tiny-ranker"]
