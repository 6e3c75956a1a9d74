"""Short logs in the words of several versions of the libraries: what they show, and the logs around them."""

# ruff: noqa: E501 - a log line is as long as it is

from __future__ import annotations

STARTED = "2026-03-01 10:00:00,001 INFO trainer: training started: 20 steps\n"
ALERT = "2026-03-01 10:00:00,003 INFO trainer: alert POST /alerts -> 200\n"
STEPS = "".join(
    f"2026-03-01 10:00:0{n},100 INFO trainer: step {n * 5}/20 loss={3.1 - 0.4 * n} grad_norm={1.5 - 0.1 * n} lr=0.0002\n"
    for n in range(1, 5)
)
FINISHED = "2026-03-01 10:00:06,000 INFO trainer: training finished at step 20\n"
SAVED = "2026-03-01 10:00:06,200 INFO trainer: adapter saved to /workspace/out/adapter\n"
WELL = STARTED + ALERT + STEPS + FINISHED + ALERT + SAVED
WARNED = "/venv/torch/x.py:12: FutureWarning: `torch.cuda.amp.autocast(args...)` is deprecated.\n  warnings.warn(\n"


def traceback(message: str, *frames: str) -> str:
    """A Python traceback that ends in a message."""
    shown = frames or ("/workspace/trainer.py|train",)
    lines = []
    for frame in shown:
        path, _, function = frame.partition("|")
        lines.append(f'  File "{path}", line 88, in {function or "main"}\n    run(spec)\n')
    return "Traceback (most recent call last):\n" + "".join(lines) + message + "\n"


ALIGNED = "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config and generation config.\n"

CHAIN = "\nThe above exception was the direct cause of the following exception:\n\n"
HANDLING = "\nDuring handling of the above exception, another exception occurred:\n\n"
ROWS = "/venv/datasets/arrow_dataset.py|_map_single"

# name, log, exit code (None: not known), method, class
FAILED: list[tuple[str, str, int | None, str | None, str]] = [
    # memory
    ("oom-old-torch", STARTED + ALERT + traceback("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 23.69 GiB total capacity; 22.3 GiB already allocated)"), 1, "dpo", "oom"),
    ("oom-older-torch", traceback("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.78 GiB total capacity)"), 1, None, "oom"),
    ("oom-cuda-error", STARTED + STEPS + traceback("RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call."), 1, None, "oom"),
    ("oom-mps", traceback("RuntimeError: MPS backend out of memory (MPS allocated: 8.90 GB, other allocations: 384.00 KB, max allowed: 9.07 GB)."), 1, "sft", "oom"),
    ("oom-rocm", traceback("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 15.98 GiB"), 1, "sft", "oom"),
    ("oom-cublas", traceback("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), 1, None, "oom"),
    ("oom-cpu-allocator", traceback('RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)'), 1, "cpt", "oom"),
    ("oom-numpy", traceback("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 37.3 GiB for an array with shape (100000, 50000) and data type float64"), 1, None, "oom"),
    ("oom-python", traceback("MemoryError"), 1, None, "oom"),
    ("oom-worker", STARTED + STEPS + traceback("RuntimeError: DataLoader worker (pid 4312) is killed by signal: Killed."), 1, "sft", "oom"),
    ("oom-killed-bare", STARTED + STEPS + "Killed\n", 137, "sft", "oom"),
    ("oom-killed-no-code", STARTED + "/start.sh: line 19:    41 Killed                  python trainer.py\n", None, None, "oom"),
    ("oom-code-alone", STARTED + STEPS, 137, None, "oom"),
    ("oom-torchrun", STARTED + "[rank0]:[E] Signal 9 (SIGKILL) received by PID 812\n" + traceback("torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"), 1, None, "oom"),
    ("oom-rank-prefix", STARTED + "[rank0]: Traceback (most recent call last):\n[rank0]:   File \"/t.py\", line 8, in main\n[rank0]:     run()\n[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB.\n", 1, None, "oom"),
    ("oom-then-wrapper", traceback("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB.") + traceback("subprocess.CalledProcessError: Command '['python', 'trainer.py']' returned non-zero exit status 1.", "/venv/accelerate/launch.py|simple_launcher"), 1, None, "oom"),
    ("oom-lab-words", "[2026-03-01 10:00:00] [__main__] [ERROR] [Main] Training failed with error: CUDA out of memory. Tried to allocate 2 GiB\n✗ Training failed with exit code: 1\n", 1, "rlhf", "oom"),
    ("oom-docker-stamps", "2026-03-01T10:00:00.123456789Z Traceback (most recent call last):\n2026-03-01T10:00:00.123456799Z   File \"/t.py\", line 8, in main\n2026-03-01T10:00:00.123456999Z torch.OutOfMemoryError: CUDA out of memory.\n", 1, None, "oom"),
    ("oom-after-lost-metrics", STARTED + "2026-03-01 10:00:01,000 WARNING trainer: metrics POST failed: 405 Method Not Allowed\n" + traceback("torch.OutOfMemoryError: CUDA out of memory."), 1, None, "oom"),
    # disk
    ("disk-errno", traceback("OSError: [Errno 28] No space left on device: '/workspace/out/checkpoint-100/optimizer.pt'"), 1, None, "disk_full"),
    ("disk-quota", traceback("OSError: [Errno 122] Disk quota exceeded"), 1, None, "disk_full"),
    ("disk-torch-save", STARTED + STEPS + traceback("RuntimeError: [enforce fail at inline_container.cc:603] . unexpected pos 1342177344 vs 1342177232", "/venv/torch/serialization.py|save"), 1, None, "disk_full"),
    ("disk-writer", STARTED + traceback("RuntimeError: PytorchStreamWriter failed writing file data/12: file write failed"), 1, None, "disk_full"),
    ("disk-datasets", traceback("OSError: Not enough disk space. Needed: 3.50 GiB (download: 1.2 GiB, generated: 2.3 GiB, post-processed: Unknown size)"), 1, "sft", "disk_full"),
    # hardware
    ("bf16-ampere", traceback("ValueError: Your setup doesn't support bf16/gpu. You need torch>=1.10, using Ampere GPU with cuda>=11.0"), 1, None, "unsupported_hardware"),
    ("bf16-accelerate", traceback("ValueError: bf16 mixed precision requires PyTorch >= 1.10 and a supported device."), 1, None, "unsupported_hardware"),
    ("fp16-on-mps", traceback("ValueError: fp16 mixed precision requires a GPU (not 'mps')."), 1, None, "unsupported_hardware"),
    ("fp16-cpu", traceback("ValueError: FP16 Mixed precision training with AMP or APEX (`--fp16`) and FP16 half precision evaluation (`--fp16_full_eval`) can only be used on CUDA or MLU devices or NPU devices or certain XPU devices (with IPEX)."), 1, None, "unsupported_hardware"),
    ("half-on-cpu", traceback("RuntimeError: \"addmm_impl_cpu_\" not implemented for 'Half'"), 1, "sft", "unsupported_hardware"),
    ("driver-old", traceback("RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"), 1, None, "unsupported_hardware"),
    ("driver-insufficient", traceback("RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver / cuda driver combination"), 1, None, "unsupported_hardware"),
    ("no-cuda-build", traceback("AssertionError: Torch not compiled with CUDA enabled"), 1, None, "unsupported_hardware"),
    ("kernel-image", traceback("RuntimeError: CUDA error: no kernel image is available for execution on the device"), 1, None, "unsupported_hardware"),
    ("flash-ampere", STARTED + traceback("RuntimeError: FlashAttention only supports Ampere GPUs or newer."), 1, None, "unsupported_hardware"),
    ("quantise-no-gpu", traceback("RuntimeError: No GPU found. A GPU is needed for quantization."), 1, None, "unsupported_hardware"),
    ("rocm-binary", "\"hipErrorNoBinaryForGpu: Unable to find code object for all current devices!\"\nAborted (core dumped)\n", 134, None, "unsupported_hardware"),
    ("mps-operator", traceback("NotImplementedError: The operator 'aten::_linalg_eigh' is not currently implemented for the MPS device."), 1, None, "unsupported_hardware"),
    # dataset: empty
    ("empty-split", traceback("ValueError: With n_samples=1, test_size=0.2 and train_size=None, the resulting train set will be empty. Adjust any of the aforementioned parameters."), 1, None, "dataset_empty"),
    ("empty-index", traceback("IndexError: Invalid key: 0 is out of bounds for size 0", ROWS), 1, "dpo", "dataset_empty"),
    ("empty-schema", traceback("datasets.exceptions.SchemaInferenceError: Please pass `features` or at least one example when writing data"), 1, None, "dataset_empty"),
    ("empty-own-words", traceback("ValueError: Training dataset is empty after filtering"), 1, None, "dataset_empty"),
    ("empty-instruction", traceback('ValueError: Instruction "train" corresponds to no data!'), 1, None, "dataset_empty"),
    ("empty-stop-iteration", traceback("StopIteration", "/venv/trl/trainer/sft_trainer.py|__init__"), 1, "sft", "dataset_empty"),
    ("empty-loaded", "[2026-03-01 10:00:00] [__main__] [INFO] [DataLoader] Loaded 0 examples\n" + traceback("ZeroDivisionError: division by zero"), 1, "sft", "dataset_empty"),
    ("empty-concatenate", traceback("ValueError: need at least one array to concatenate"), 1, "cpt", "dataset_empty"),
    # dataset: no JSON
    ("json-quote", traceback("pyarrow.lib.ArrowInvalid: JSON parse error: Missing a closing quotation mark in string. in row 3") + CHAIN + traceback("datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset"), 1, None, "dataset_invalid_json"),
    ("json-property", traceback("json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"), 1, "sft", "dataset_invalid_json"),
    ("json-extra", traceback("json.decoder.JSONDecodeError: Extra data: line 1 column 45 (char 44)"), 1, None, "dataset_invalid_json"),
    ("json-unterminated", traceback("json.decoder.JSONDecodeError: Unterminated string starting at: line 1 column 12 (char 11)"), 1, None, "dataset_invalid_json"),
    ("json-pandas", traceback("ValueError: Expected object or value", "/venv/pandas/io/json/_json.py|read"), 1, None, "dataset_invalid_json"),
    ("json-own-words", "2026-03-01 10:00:00,001 ERROR trainer: Invalid JSON on line 12 of train.jsonl\n", 1, "cpt", "dataset_invalid_json"),
    ("json-msgspec", traceback("msgspec.DecodeError: JSON is malformed: invalid character (byte 14)"), 1, None, "dataset_invalid_json"),
    ("json-generation-only", traceback("datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset", "/venv/datasets/packaged_modules/json/json.py|_generate_tables"), 1, None, "dataset_invalid_json"),
    # dataset: wrong format
    ("format-messages", traceback("KeyError: 'messages'", ROWS), 1, "sft", "dataset_wrong_format"),
    ("format-prompt", traceback("KeyError: 'prompt'"), 1, "rlhf", "dataset_wrong_format"),
    ("format-quoted", traceback('KeyError: "rejected"'), 1, "orpo", "dataset_wrong_format"),
    ("format-other-key", traceback("KeyError: 'utterance'", ROWS, "/venv/trl/trainer/sft_trainer.py|tokenize_fn"), 1, "sft", "dataset_wrong_format"),
    ("format-no-columns", traceback("ValueError: No columns in the dataset match the model's forward method signature: (input_ids, attention_mask, labels, label_ids, label). The following columns have been ignored: [prompt, chosen, rejected]."), 1, "sft", "dataset_wrong_format"),
    ("format-not-str", traceback("ValueError: prompt should be an str but got <class 'list'>"), 1, "orpo", "dataset_wrong_format"),
    ("format-roles", traceback("jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant/user/assistant/..."), 1, "sft", "dataset_wrong_format"),
    ("format-role-attribute", traceback("jinja2.exceptions.UndefinedError: 'str object' has no attribute 'role'"), 1, "sft", "dataset_wrong_format"),
    ("format-indices", traceback("TypeError: string indices must be integers, not 'str'"), 1, "dpo", "dataset_wrong_format"),
    ("format-encode-input", traceback("TypeError: TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"), 1, "cpt", "dataset_wrong_format"),
    ("format-text-input", traceback("ValueError: text input must be of type `str` (single example), `list[str]` (batch or single pretokenized example)"), 1, "cpt", "dataset_wrong_format"),
    ("format-null", traceback("AttributeError: 'NoneType' object has no attribute 'strip'"), 1, "sft", "dataset_wrong_format"),
    ("format-expected-key", "2026-03-01 10:00:00,001 ERROR trainer: Expected key 'chosen' in dataset\n", 1, "dpo", "dataset_wrong_format"),
    ("format-required", traceback("ValueError: Dataset is missing required columns: ['chosen', 'rejected']"), 1, "dpo", "dataset_wrong_format"),
    ("format-cast", traceback("datasets.table.CastError: Couldn't cast\nprompt: string\nreward: double\nto\n{'prompt': Value('string')}"), 1, "rlhf", "dataset_wrong_format"),
    ("format-arrow-types", traceback("pyarrow.lib.ArrowInvalid: cannot mix list and non-list, non-null values"), 1, "sft", "dataset_wrong_format"),
    ("format-tensor", traceback("ValueError: Unable to create tensor, you should probably activate truncation and/or padding with 'padding=True' 'truncation=True' to have batched tensors with the same length."), 1, "sft", "dataset_wrong_format"),
    ("format-rich", "╭───── Traceback (most recent call last) ─────╮\n│ /workspace/trainer.py:88 in main            │\n│ ❱ 88     run(spec)                          │\n╰─────────────────────────────────────────────╯\nKeyError: 'chosen'\n", 1, "dpo", "dataset_wrong_format"),
    ("format-in-worker", traceback("multiprocess.pool.RemoteTraceback:\n\"\"\"\n" + traceback("KeyError: 'rejected'", ROWS) + '"""') + CHAIN + traceback("KeyError: 'rejected'"), 1, "dpo", "dataset_wrong_format"),
    # dependencies
    ("dep-bnb", traceback("ImportError: Using `bitsandbytes` 4-bit quantization requires the latest version of bitsandbytes: `pip install -U bitsandbytes`"), 1, "sft", "missing_dependency"),
    ("dep-accelerate", traceback("ImportError: Using the `Trainer` with `PyTorch` requires `accelerate>=1.1.0`: Please run `pip install transformers[torch]`"), 1, None, "missing_dependency"),
    ("dep-flash", traceback("ImportError: FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package flash_attn seems to be not installed."), 1, None, "missing_dependency"),
    ("dep-attribute", traceback("AttributeError: module 'trl' has no attribute 'ORPOTrainer'"), 1, "orpo", "missing_dependency"),
    ("dep-glibc", traceback("ImportError: /lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.32' not found"), 1, None, "missing_dependency"),
    ("dep-symbol", traceback("ImportError: /venv/flash_attn_2_cuda.so: undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationE"), 1, None, "missing_dependency"),
    ("dep-numpy", traceback("RuntimeError: numpy.dtype size changed, may indicate binary incompatibility."), 1, None, "missing_dependency"),
    ("dep-method", "2026-03-01 10:00:00,001 ERROR trainer: Method 'orpo' not found\n", 1, "orpo", "missing_dependency"),
    ("dep-sentencepiece", traceback("ImportError: \nLlamaTokenizer requires the SentencePiece library but it was not found in your environment."), 1, None, "missing_dependency"),
    ("dep-architecture", traceback("ValueError: The checkpoint you are trying to load has model type `qwen3` but Transformers does not recognize this architecture."), 1, None, "missing_dependency"),
    # model
    ("model-404", traceback("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: Root=1-1)\n\nRepository Not Found for url: https://huggingface.co/api/models/x/y.") + CHAIN + traceback("OSError: x/y is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'"), 1, None, "model_not_found"),
    ("model-gated", traceback("huggingface_hub.errors.GatedRepoError: 401 Client Error.") + CHAIN + traceback("OSError: You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/meta-llama/Llama-3.2-1B."), 1, None, "model_not_found"),
    ("model-403", traceback("requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://huggingface.co/meta-llama/Llama-2-7b-hf/resolve/main/config.json"), 1, "dpo", "model_not_found"),
    ("model-no-weights", traceback("OSError: Error no file named pytorch_model.bin, model.safetensors, tf_model.h5 found in directory /workspace/model."), 1, None, "model_not_found"),
    ("model-tokenizer", traceback("OSError: Can't load tokenizer for 'acme/tiny'. If you were trying to load it from 'https://huggingface.co/models', make sure you don't have a local directory with the same name."), 1, None, "model_not_found"),
    ("model-repo-id", traceback("huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/workspace/models/a/b'."), 1, None, "model_not_found"),
    ("model-timeout", traceback("requests.exceptions.ConnectTimeout: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /x/resolve/main/config.json\"))"), 1, None, "model_not_found"),
    ("model-unrecognised", traceback("ValueError: Unrecognized model in acme/tiny. Should have a `model_type` key in its config.json"), 1, None, "model_not_found"),
    # tokenizer
    ("token-assert", STARTED + "/pytorch/aten/src/ATen/native/cuda/Indexing.cu:1290: indexSelectLargeIndex: block: [12,0,0], thread: [0,0,0] Assertion `srcIndex < srcSelectDimSize` failed.\n" + traceback("RuntimeError: CUDA error: device-side assert triggered"), 1, None, "tokenizer_model_mismatch"),
    ("token-template", traceback("ValueError: Cannot use chat template functions because tokenizer.chat_template is not set and no template argument was passed!"), 1, "sft", "tokenizer_model_mismatch"),
    ("token-pad", traceback("ValueError: Asking to pad but the tokenizer does not have a padding token."), 1, None, "tokenizer_model_mismatch"),
    ("token-size", traceback("RuntimeError: Error(s) in loading state_dict for LlamaForCausalLM:\n\tsize mismatch for model.embed_tokens.weight: copying a param with shape torch.Size([32000, 16])"), 1, None, "tokenizer_model_mismatch"),
    ("token-target", STARTED + traceback("IndexError: Target 32001 is out of bounds."), 1, None, "tokenizer_model_mismatch"),
    # configuration
    ("config-renamed", traceback("TypeError: DPOTrainer.__init__() got an unexpected keyword argument 'tokenizer'"), 1, "dpo", "config_invalid"),
    ("config-strategy", traceback("ValueError: --load_best_model_at_end requires the save and eval strategy to match, but found"), 1, None, "config_invalid"),
    ("config-precision", traceback("ValueError: At most one of fp16 and bf16 can be True, but not both"), 1, None, "config_invalid"),
    ("config-scheduler", traceback("ValueError: cosin is not a valid SchedulerType, please select one of ['linear', 'cosine']"), 1, None, "config_invalid"),
    ("config-quantised", traceback("ValueError: You cannot perform fine-tuning on purely quantized models. Please attach trainable adapters on top of the quantized model"), 1, None, "config_invalid"),
    ("config-targets", traceback("ValueError: Please specify `target_modules` in `peft_config`"), 1, None, "config_invalid"),
    ("config-arguments", "usage: trainer.py [-h]\ntrainer.py: error: unrecognized arguments: --epochs 3\n", 2, None, "config_invalid"),
    ("config-gradient", STARTED + traceback("RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"), 1, None, "config_invalid"),
    ("config-warmup", traceback("TypeError: '<' not supported between instances of 'NoneType' and 'int'"), 1, "cpt", "config_invalid"),
    ("config-learning-rate", traceback("ValueError: Invalid learning rate: -0.1"), 1, None, "config_invalid"),
    ("config-pydantic", traceback("pydantic_core._pydantic_core.ValidationError: 1 validation error for TrainingConfig\nbatch_size\n  Input should be greater than 0"), 1, None, "config_invalid"),
    ("config-by-frame", traceback("ValueError: something new about a setting", "/venv/transformers/training_args.py|__post_init__"), 1, None, "config_invalid"),
    # learning
    ("nan-in-sampling", STARTED + traceback("RuntimeError: probability tensor contains either `inf`, `nan` or element < 0"), 1, "rlhf", "not_learning"),
    # what several versions of the libraries say of one mistake
    ("config-ppo-samples", STARTED + traceback("TypeError: object of type 'NoneType' has no len()", "/venv/trl/trainer/ppo_trainer.py|generate_completions", "/venv/torch/utils/data/sampler.py|__iter__"), 1, "rlhf", "config_invalid"),
    ("config-environment", traceback("KeyError: 'MODEL_NAME'", "/python/os.py|__getitem__"), 1, None, "config_invalid"),
    ("token-load-report", "lm_head.weight | MISMATCH | Reinit due to size mismatch - ckpt: torch.Size([32, 6]) vs model:torch.Size([50, 6])\n" + traceback("RuntimeError: You set `ignore_mismatched_sizes` to `False`, thus raising an error. For details look at the above report!"), 1, None, "tokenizer_model_mismatch"),
    ("unknown-beside-aligned-tokens", ALIGNED + STARTED + traceback("ZeroDivisionError: integer division or modulo by zero"), 1, None, "trainer_error"),
    # nobody knows
    ("unknown-error", STARTED + traceback("RuntimeError: the moon is in the wrong house"), 1, None, "trainer_error"),
    ("unknown-code", STARTED + STEPS, 3, None, "trainer_error"),
]  # fmt: skip

OLD_STEPS = "".join(
    f"{{'loss': {2.5 - 0.2 * n:.4f}, 'grad_norm': {1.4 - 0.1 * n:.3f}, 'learning_rate': 0.0002, 'epoch': {n / 4}}}\n"
    for n in range(1, 5)
)
LAB = (
    "[2026-03-01 10:00:00] [__main__] [INFO] [MetricsCallback] Training started\n"
    "[2026-03-01 10:00:00] [__main__] [INFO] [Alert] Sent job_started alert successfully\n"
    "[2026-03-01 10:00:05] [__main__] [INFO] [Progress] Epoch 1/1 | Step 5/20 | Loss 2.31 | LR 2e-4\n"
    "[2026-03-01 10:00:10] [__main__] [INFO] [Progress] Epoch 1/1 | Step 20/20 | Loss 1.31 | LR 2e-4\n"
)
LAB_END = (
    "[2026-03-01 10:00:12] [__main__] [INFO] [Alert] Sent job_completed alert successfully\n"
    "[2026-03-01 10:00:12] [__main__] [INFO] Training completed successfully!\n"
)
BAR = "\r".join(f"{n * 10}%|{'█' * n}| {n}/10 [00:0{n % 10}<00:01]" for n in range(11)) + "\n"

# name, log, exit code, method, class, also
ENDED: list[tuple[str, str, int | None, str | None, str, list[str]]] = [
    ("well", WELL, 0, "sft", "healthy", []),
    ("well-without-code", WELL, None, None, "healthy", []),
    ("well-lab", LAB + LAB_END, 0, "sft", "healthy", []),
    ("well-bars", STARTED + ALERT + BAR + STEPS + BAR + FINISHED + ALERT + SAVED, 0, None, "healthy", []),
    ("well-crlf", WELL.replace("\n", "\r\n"), 0, None, "healthy", []),
    ("warned", WARNED + WELL, 0, "sft", "healthy_with_warnings", []),
    ("warned-logger", "2026-03-01 10:00:00,001 WARNING trl.trainer: something new may change\n" + WELL, 0, None, "healthy_with_warnings", []),
    ("warned-lab", "[2026-03-01 10:00:00] [__main__] [WARNING] [CPT] Response template not found in tokenized sequence\n" + LAB + LAB_END, 0, "cpt", "healthy_with_warnings", []),
    ("recovered", STARTED + ALERT + traceback("torch.OutOfMemoryError: CUDA out of memory.") + STEPS + FINISHED + ALERT + SAVED, 0, None, "healthy_with_warnings", []),
    ("alert-late", LAB + "[2026-03-01 10:00:11] [__main__] [ERROR] [Alert] Failed to send alert: HTTPSConnectionPool(host='lab', port=443): Read timed out. (read timeout=10)\n" + LAB_END.splitlines(keepends=True)[1], 0, "sft", "healthy_with_warnings", []),
    ("metrics-404", WELL.replace(FINISHED, "2026-03-01 10:00:05,500 WARNING trainer: metrics POST failed: 404 Not Found\n" + FINISHED), 0, None, "metrics_post_failed", []),
    ("metrics-lab-401", LAB + '[2026-03-01 10:00:11] [__main__] [ERROR] [MetricsCallback] API POST failed: 401 - {"error":"Unauthorized: Invalid token"}\n' + LAB_END, 0, "sft", "metrics_post_failed", []),
    ("metrics-timeout", WELL.replace(FINISHED, "2026-03-01 10:00:05,500 WARNING trainer: metrics POST failed: timed out\n" + FINISHED), 0, None, "metrics_post_failed", []),
    ("metrics-dns", WELL.replace(FINISHED, "2026-03-01 10:00:05,500 WARNING trainer: metrics POST failed: <urlopen error [Errno -2] Name or service not known>\n" + FINISHED), 0, None, "metrics_post_failed", []),
    ("metrics-arrow", WELL.replace(FINISHED, "2026-03-01 10:00:05,500 INFO trainer: metrics POST /metrics -> 503\n" + FINISHED), 0, None, "metrics_post_failed", []),
    ("metrics-other-words", WELL.replace(FINISHED, "[callback] could not send metrics to http://lab:3000: ConnectionRefusedError(111, 'Connection refused')\n" + FINISHED), 0, None, "metrics_post_failed", []),
    ("metrics-and-alerts", WELL.replace("alert POST /alerts -> 200", "alert POST failed: 401 Unauthorized").replace("step 20/20", "metrics POST failed: 401 Unauthorized; step 20/20"), 0, None, "metrics_post_failed", ["alert_failed"]),
    ("metrics-retried", WELL.replace(FINISHED, "trainer: metrics POST failed: 503, retrying in 1 s\ntrainer: metrics POST /metrics -> 200\n" + FINISHED), 0, None, "healthy_with_warnings", []),
    ("alert-401", WELL.replace("alert POST /alerts -> 200", "alert POST failed: 401 Unauthorized"), 0, "dpo", "alert_failed", []),
    ("alert-lab", LAB + "[2026-03-01 10:00:12] [__main__] [ERROR] [Alert] Alert failed: 500\nTraining completed successfully!\n", 0, None, "alert_failed", []),
    ("alert-webhook", WELL.replace("INFO trainer: alert POST /alerts -> 200", "ERROR notifier: sending alert webhook failed with HTTP 403"), 0, None, "alert_failed", []),
    ("alerts-none", STARTED + STEPS + FINISHED + SAVED, 0, "orpo", "alerts_missing", []),
    ("alerts-disabled", "trainer: alerts disabled: ALERT_API_URL not set\n" + STARTED + STEPS + FINISHED + SAVED, 0, None, "alerts_missing", []),
    ("alerts-no-end", STARTED + ALERT + STEPS + FINISHED + SAVED, 0, None, "alerts_missing", []),
    ("nan", WELL.replace("loss=1.5", "loss=nan").replace("loss=1.9", "loss=nan"), 0, "sft", "not_learning", []),
    ("nan-dicts", STARTED + ALERT + "{'loss': 2.1, 'grad_norm': 3.0, 'learning_rate': 0.0002, 'epoch': 0.1}\n" + "{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 0.0002, 'epoch': 0.2}\n" * 5 + "{'loss': nan, 'grad_norm': nan}\n" + FINISHED + ALERT, 0, "sft", "not_learning", []),
    ("no-gradient", STARTED + ALERT + "".join(f"{{'loss': '{5.9 - n / 100}', 'grad_norm': '0', 'learning_rate': '1e+06'}}\n" for n in range(5)) + FINISHED + ALERT, 0, "sft", "not_learning", []),
    ("nan-left-out-of-the-loss", STARTED + ALERT + "{'loss': 6.19, 'grad_norm': 1.6, 'learning_rate': 9e+29}\n" + "{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 8e+29}\n" * 7 + FINISHED + ALERT, 0, "sft", "not_learning", []),
    ("rate-is-zero", STARTED + ALERT + "".join(f"{{'loss': {6.1 + n % 3 / 20}, 'grad_norm': 1.5, 'learning_rate': 0.0}}\n" for n in range(12)) + FINISHED + ALERT, 0, "sft", "not_learning", []),
    ("rate-is-rounded", STARTED + ALERT + "".join(f"step {n}: loss={6.1 - n / 20:.4f} lr=0.0000\n" for n in range(12)) + FINISHED + ALERT, 0, "sft", "healthy", []),
    ("flat", STARTED + ALERT + "".join(f"step {n}: loss={2.3026 + n % 3 / 1000:.4f} lr=2e-4\n" for n in range(9)) + FINISHED + ALERT, 0, "cpt", "not_learning", []),
    ("dpo-warming-up", STARTED + ALERT + "".join(f"step {n}: loss={0.6931 + n % 3 / 1000:.4f} lr={n}e-7\n" for n in range(1, 10)) + FINISHED + ALERT, 0, "dpo", "healthy", []),
    ("slow-but-falling", STARTED + ALERT + "".join(f"step {n}: loss={0.6931 - n / 5000:.4f} lr=5e-7\n" for n in range(9)) + FINISHED + ALERT, 0, "dpo", "healthy", []),
    ("exploded-then-dead", STARTED + ALERT + "".join(f"step {n}: loss={loss} grad_norm={norm} lr=5.0\n" for n, (loss, norm) in enumerate([(6.1, 4.7), (5.1, 6.8), (23.0, 10.9), (1143.4, 94.3), (39667.4, 1594.8), (70547440.0, 374056.0), (5.76, 0.0), (5.76, 0.0)])) + FINISHED + ALERT, 0, "sft", "not_learning", []),
    ("no-step-at-all", STARTED + ALERT + "There seems not to be a single sample in your epoch_iterator, stopping training at step 0!\n{'train_runtime': '0.06', 'train_loss': '0', 'epoch': 0}\n" + FINISHED + ALERT + SAVED, 0, None, "dataset_empty", []),
    ("aligned-tokens", ALIGNED + WELL, 0, "sft", "healthy_with_warnings", []),
    ("beginning-cut-off", STEPS + FINISHED + ALERT + SAVED, 0, "sft", "healthy", []),
    ("constant", STARTED + ALERT + "{'loss': 0.6931, 'grad_norm': 0.002, 'learning_rate': 0.0}\n" * 6 + FINISHED + ALERT, 0, "dpo", "not_learning", []),
    ("diverged", STARTED + ALERT + "".join(f"{{'loss': {2.0 + n * n}, 'grad_norm': 40.1, 'learning_rate': 0.5}}\n" for n in range(6)) + FINISHED + ALERT, 0, "sft", "not_learning", []),
    ("ppo-loss-rises", STARTED + ALERT + "".join(f"{{'loss': {0.1 + n}, 'grad_norm': 1.1}}\n" for n in range(6)) + FINISHED + ALERT, 0, "rlhf", "healthy", []),
    ("dpo-learnt-all", STARTED + ALERT + "".join(f"{{'loss': {0.69 / 10**n}, 'grad_norm': {1.0 / 10**n if n < 3 else 0}}}\n" for n in range(6)) + FINISHED + ALERT, 0, "dpo", "healthy", []),
    ("not-learning-and-lost", STARTED + "".join("{'loss': '5.9', 'grad_norm': '0'}\ntrainer: metrics POST failed: 405 Method Not Allowed\n" for _ in range(5)) + FINISHED, 0, "sft", "not_learning", ["metrics_post_failed", "alerts_missing"]),
    ("cut-off", STARTED + ALERT + STEPS, None, None, "unknown", []),
    ("empty", "", None, None, "unknown", []),
]  # fmt: skip
