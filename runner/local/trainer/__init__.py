"""Fine-tune a tiny model for real, on a CPU, the way a training pod reports it.

    python standalone_trainer.py --config config.json --execution-id JOB

A pod downloads this whole folder as one file (`runner.local.trainer_bundle`). So its modules import each other
relatively, nothing else of runspec, and of the libraries only the standard one; torch, tokenizers, transformers,
datasets, peft and trl are imported inside functions, once the configuration has been read. Every loss is measured:
there is no model hub, so the base is a seeded random Llama of about 150,000 weights with a tokenizer trained on the
job's own dataset.

Values of the template are used as they are wherever a CPU can. Whatever is changed is said in a line
`[Local] Scaled <field>: <template value> -> <used value> (<reason>)` and in `runspec_model.json` beside the model.

Environment: JOB_ID, JOB_TOKEN, USER_ID, METRICS_API_URL, ALERT_API_URL, INTERNAL_API_KEY, HTTP_REQUEST_TIMEOUT,
CONSOLE_LOG_INTERVAL, PROGRESS_FILENAME, DEFAULT_EVAL_SPLIT as the product's trainer reads them, and
RUNSPEC_TRAINER_MIN_STEPS, RUNSPEC_TRAINER_MAX_STEPS, RUNSPEC_TRAINER_NF4, RUNSPEC_TRAINER_REWARD and
RUNSPEC_MODEL_UPLOAD_URL (where a finished model is sent, as one zip) of our own.

Exit codes: 0 trained and saved, 1 failed or unreadable configuration, 2 bad arguments, 143 stopped by SIGTERM.
"""
