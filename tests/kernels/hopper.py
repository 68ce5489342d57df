"""Compiles Triton kernels for an H100/H200 (sm_90) on a machine without one, and reports what came out.

In, on stdin: lines, each a JSON list of cases
  {"kernel": "fedkey_kernels.module:function",
   "signature": {"argument": "*bf16" | "*fp32" | "i32" | "fp32" | ... , in order, constants left out},
   "constants": {"argument": value},
   "aligned": ["argument", ...]   pointers and strides that are multiples of 16 (no others are taken to be),
   "num_warps": 4, "num_stages": 2}
Out, on stdout: for each line one, a JSON list of {"kernel", "registers", "stack", "spilled", "shared",
"tensor_core" ("HGMMA"/"HMMA"/""), "global_loads": {width in bits: count}}.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGET = GPUTarget("cuda", 90, 32)


def compile_case(case: dict[str, Any]) -> dict[str, Any]:
    module, _, name = case["kernel"].partition(":")
    kernel = getattr(importlib.import_module(module), name)
    constants = case["constants"]
    signature = {
        argument: "constexpr" if argument in constants else case["signature"][argument]
        for argument in kernel.arg_names
    }
    positions = {argument: index for index, argument in enumerate(kernel.arg_names)}
    attributes = {(positions[a],): [["tt.divisibility", 16]] for a in case.get("aligned", [])}
    source = ASTSource(kernel, signature, {(positions[a],): v for a, v in constants.items()}, attributes)
    options = {"num_warps": case["num_warps"], "num_stages": case["num_stages"]}
    compiled = triton.compile(source, target=TARGET, options=options)
    return {"kernel": case["kernel"], "shared": compiled.metadata.shared} | inspect(compiled.asm["cubin"])


def inspect(cubin: bytes) -> dict[str, Any]:
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _output([str(tools / "cuobjdump"), "--dump-resource-usage", file.name])
        sass = _output([str(tools / "nvdisasm"), "-c", file.name])
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    widths = Counter(w or "32" for w in re.findall(r"\bLDG(?:STS)?(?:\.[A-Z]+)*(?:\.(64|128))?\b", sass))
    return {
        "registers": int(found.group(1)),
        "stack": int(found.group(2)),
        "spilled": len(re.findall(r"\b(?:STL|LDL)\b", sass)),
        "tensor_core": next((name for name in ("HGMMA", "HMMA") if name in sass), ""),
        "global_loads": dict(widths),
    }


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps([compile_case(case) for case in json.loads(line)]), flush=True)
