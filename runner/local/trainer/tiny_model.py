"""The model that is trained: a seeded random Llama of about 150,000 weights, and its tokenizer."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .log import log
from .recipe import Recipe
from .rows import Row, strings_in
from .scaling import Scaling

VOCABULARY = 512
# With Llama's own 0.02 the frozen random output layer bounds the logits and LoRA hardly lowers the loss; 0.1 was
# measured to let it fall.
INITIALIZER_RANGE = 0.1
TOKENIZER_ROWS = 5_000
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAD, TURN_START, TURN_END = "<|pad|>", "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Base:
    """A random base model on disk with its tokenizer, and what turns it into a trainable one."""

    tokenizer: Any
    path: Path
    four_bit: bool


def build_tokenizer(rows: Sequence[Row]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, TURN_START, TURN_END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    core.train_from_iterator((text for row in rows[:TOKENIZER_ROWS] for text in strings_in(row)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=TURN_END, chat_template=CHAT_TEMPLATE, padding_side="left",
        # Without the names, transformers 4 adds token_type_ids after a reload and generate() refuses them.
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def llama_config(tokenizer: Any, **more: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        initializer_range=INITIALIZER_RANGE, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **more,
    )  # fmt: skip


def build_base(recipe: Recipe, rows: Sequence[Row], scaling: Scaling) -> Base:
    """Make the tokenizer and the random base, and save both: the base cannot be downloaded from anywhere."""
    from transformers import LlamaForCausalLM, set_seed

    set_seed(recipe.seed)
    tokenizer = build_tokenizer(rows)
    log.info("[Trainer] Tokenizer loaded successfully")
    model = LlamaForCausalLM(llama_config(tokenizer))
    tiny = f"random Llama, {model.num_parameters():,} weights, vocabulary {len(tokenizer)}"
    scaling.use("model", recipe.model_name, tiny, "nothing is downloaded and a CPU trains it in seconds")
    path = recipe.output_dir / "base_model"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Base(tokenizer, path, four_bit=wants_four_bit(recipe, scaling))


def classifier(tokenizer: Any) -> Any:
    from transformers import LlamaForSequenceClassification

    return LlamaForSequenceClassification(llama_config(tokenizer, num_labels=1))


def wants_four_bit(recipe: Recipe, scaling: Scaling) -> bool:
    """Whether to load the base in NF4: asked for by the template, switched on, and possible."""
    wanted = bool((recipe.training.get("quantization") or {}).get("load_in_4bit"))
    possible = importlib.util.find_spec("bitsandbytes") is not None
    if wanted and possible and os.environ.get("RUNSPEC_TRAINER_NF4") == "1":
        log.info("[Model] Quantization: 4-bit nf4")
        return True
    asked = "4-bit" if wanted else None
    scaling.use("quantization", asked, "none", "RUNSPEC_TRAINER_NF4=1 and bitsandbytes switch it on")
    return False


def load_float_base(base: Base) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base.path)


def load_base(base: Base) -> Any:
    from transformers import AutoModelForCausalLM

    if not base.four_bit:
        return load_float_base(base)
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(base.path, quantization_config=nf4, device_map="cpu")
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def trainable_model(recipe: Recipe, base: Base) -> Any:
    """The base with LoRA on it, or the base itself where the template trains every weight."""
    model = load_base(base)
    # An absolute path would be this machine's; the base travels beside the adapter.
    model.config._name_or_path = model.name_or_path = "base_model"
    if recipe.lora is not None:
        from peft import LoraConfig, get_peft_model

        lora = recipe.lora
        log.info("[Model] LoRA config: r=%d, alpha=%d, dropout=%s", lora.r, lora.alpha, lora.dropout)
        model = get_peft_model(
            model,
            LoraConfig(
                r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, bias=lora.bias,
                target_modules=list(lora.target_modules), task_type="CAUSAL_LM",
            ),
        )  # fmt: skip
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    share = 100 * trained / total
    log.info("trainable params: %s || all params: %s || trainable%%: %.4f", f"{trained:,}", f"{total:,}", share)
    log.info("[Trainer] Model loaded successfully")
    return model
