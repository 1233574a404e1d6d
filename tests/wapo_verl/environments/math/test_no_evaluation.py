"""An answer is never run: no text of a policy becomes Python code on the way to its verdict. No worker, no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ANSWERS = [
    "__import__('os').system('touch hacked')",
    "\\text{__import__('os').system('touch hacked')}",
    "\\operatorname{eval}(open('hacked','w'))",
    "[x for x in (1).__class__.__base__.__subclasses__()]",
    "lambda: open('hacked', 'w')",
    "exec(\"open('hacked','w')\")",
    "{1, __import__('os').system('touch hacked')}",
    "x = __import__('os')",
    "1 + eval(compile('1', '', 'eval'))",
    "\\frac{__import__('os').getpid()}{1}",
    "f(2**99999)",
    "'%s' % __builtins__",
    "1,000,print(1)",
    "1,000__import__('os').getpid()",
    "x_{__import__('os')}",
    "0.5e3 + exit()",
]

WATCHED = r"""
import json, re, sys
import sympy.physics.units  # math-verify imports it late, and it makes its symbols by sympy's parser
from wapo_verl.environments.math.algebra import same_expression
from wapo_verl.environments.math.equivalence import compare
harmless = re.compile(r"(Integer|Float) \('?[0-9.e+-]+'? ?\)\s*|from sympy import \*|def monomial_\w+\(.*", re.DOTALL)
seen = []
def watch(event, arguments):
    if event in ("os.system", "subprocess.Popen", "os.exec", "os.fork", "socket.connect"):
        seen.append(event)
    if event == "compile" and arguments[0] is not None and arguments[1] in (None, "", "<string>"):
        source = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0])
        if not harmless.fullmatch(source):
            seen.append(source[:200])
sys.addaudithook(watch)
for answer in json.loads(sys.argv[1]):
    for gold, given in ((answer, "2"), ("2", answer), (answer, answer + " ")):
        for ask in (same_expression, lambda gold, given: compare(gold, given, same_expression)):
            try:
                ask(gold, given)
            except ValueError:
                pass
print(json.dumps(seen))
"""


@pytest.mark.slow
def test_no_answer_is_compiled_run_or_told_to_a_shell(tmp_path: Path) -> None:
    """sympy evaluates `Integer (2 )` for a number's digits, and functions that it writes itself; nothing else."""
    command = [sys.executable, "-c", WATCHED, json.dumps(ANSWERS)]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout.splitlines()[-1]) == []
    assert list(tmp_path.iterdir()) == []
