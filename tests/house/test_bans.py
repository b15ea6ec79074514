"""What the package never does: run found code, open files where it should not, print, iterate a set."""

import ast
import dataclasses
import re

import pytest

MAX_LINES = 300
PURE_ROOMS = (
    "errors numerics arch circuits identity symmetry lineage protect realign merge poison scan provenance training "
    "results audit"
).split()
BANNED_MODULES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
BANNED_CALLS = ("eval", "exec", "compile", "os.system", "os.popen", "torch.load", "pickle.loads", "torch.save")
#: Files that may parse JSON without the strict reader: it was checked before, is ours, is a reply, or is all looked at.
PLAIN_JSON = {
    "checkpoint.bytes.strict_json", "scan.files.judge", "scan.files.pickles", "verbs.folders", "verbs.checks",
    "evaluate.base.compute_dtype", "evaluate.base.gguf_model", "evaluate.language.served", "evaluate.language.tasks",
    "engines.process", "zoo.glyphs.digits", "zoo.side_by_side", "zoo.rows", "zoo.language.words",
    "results.upgrade", "results.read", "watermark.keyed_words", "watermark.request", "attack.folder",
    "attack.language.upload",
}  # fmt: skip
FILE_CALLS = ("open", "os.open", "io.open")
FILE_METHODS = ("read_text", "write_text", "read_bytes", "write_bytes", "open", "unlink", "rename", "mkdir")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _calls(module):
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def test_no_deserialiser_that_runs_code_is_imported(modules) -> None:
    wrong = []
    for module in modules:
        for node in ast.walk(module.tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{module.at(node)} {name}" for name in names if name.split(".")[0] in BANNED_MODULES]
    assert not wrong, "\n".join(wrong)


def test_no_call_that_runs_found_code(modules) -> None:
    wrong = []
    for module in modules:
        for call in _calls(module):
            name = _dotted(call.func)
            if name in BANNED_CALLS or _is_true(_keyword(call, "shell")) or _is_true(_keyword(call, "allow_pickle")):
                wrong.append(f"{module.at(call)} {name}")
            if _is_true(_keyword(call, "trust_remote_code")) or name.endswith("yaml.load"):
                wrong.append(f"{module.at(call)} {name}")
    assert not wrong, "\n".join(wrong)


def test_remote_code_is_switched_off_wherever_a_model_is_loaded(modules) -> None:
    wrong = []
    for module in modules:
        for call in _calls(module):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained":
                off, local = _keyword(call, "trust_remote_code"), _keyword(call, "local_files_only")
                if not (isinstance(off, ast.Constant) and off.value is False and _is_true(local)):
                    wrong.append(f"{module.at(call)} from_pretrained")
    assert not wrong, "\n".join(wrong)


def test_no_print_anywhere_and_no_logging_in_the_rooms(modules) -> None:
    wrong = [
        f"{module.at(call)} print" for module in modules for call in _calls(module) if _dotted(call.func) == "print"
    ]
    for module in modules:
        if module.room in PURE_ROOMS:
            imports = [node for node in ast.walk(module.tree) if isinstance(node, ast.Import)]
            wrong += [f"{module.at(node)} logging" for node in imports if node.names[0].name == "logging"]
    assert not wrong, "\n".join(wrong)


def test_files_are_opened_only_in_the_rooms_that_may(modules) -> None:
    wrong = []
    for module in modules:
        if module.room not in PURE_ROOMS:
            continue
        for call in _calls(module):
            name = _dotted(call.func)
            method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            if name in FILE_CALLS or method in FILE_METHODS:
                wrong.append(f"{module.at(call)} {name}")
    assert not wrong, "\n".join(wrong)


def test_json_of_strangers_goes_through_the_strict_reader(modules) -> None:
    wrong = [
        module.at(call)
        for module in modules
        for call in _calls(module)
        if _dotted(call.func) in ("json.loads", "json.load") and module.name.partition(".")[2] not in PLAIN_JSON
    ]
    assert not wrong, "\n".join(wrong)


def test_no_global_random_state(modules) -> None:
    wrong = []
    for module in modules:
        for call in _calls(module):
            name = _dotted(call.func)
            if re.fullmatch(r"(random|np\.random|numpy\.random)\.(?!Philox|SFC64)\w+", name) or name in (
                "torch.manual_seed",
                "torch.seed",
            ):
                wrong.append(f"{module.at(call)} {name}")
    assert not wrong, "\n".join(wrong)


def _is_set(node: ast.AST) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return _is_set(node.left) or _is_set(node.right)
    return isinstance(node, ast.Call) and _dotted(node.func) in ("set", "frozenset")


def test_nothing_is_iterated_from_a_set(modules) -> None:
    wrong = []
    for module in modules:
        for node in ast.walk(module.tree):
            sources = []
            if isinstance(node, ast.For | ast.comprehension):
                sources = [node.iter]
            elif isinstance(node, ast.Call) and (
                _dotted(node.func) in ("list", "tuple", "enumerate", "iter", "next", "zip")
                or (isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "extend"))
            ):
                sources = list(node.args)
            wrong += [f"{module.at(source)}" for source in sources if _is_set(source)]
    assert not wrong, "iterated from a set (sort it):\n" + "\n".join(wrong)


def test_no_silenced_check_and_no_unfinished_note(modules) -> None:
    mark = re.compile(r"#\s*(noqa|type:\s*ignore|TODO|FIXME|XXX)|\bNotImplementedError\b")
    wrong = [
        f"{module.path.name}:{number}"
        for module in modules
        for number, line in enumerate(module.text.splitlines(), 1)
        if mark.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_one_idea_one_file_of_moderate_length_with_a_docstring(modules) -> None:
    for module in modules:
        n_lines = module.text.count("\n")
        assert n_lines <= MAX_LINES, f"{module.name} has {n_lines} lines; split the idea (at most {MAX_LINES})"
        assert ast.get_docstring(module.tree), f"{module.name} does not say its idea"


def test_no_family_is_named_outside_the_tables(modules) -> None:
    wrong = []
    for module in modules:
        if module.room in ("arch", "identity", "zoo", "evaluate"):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Compare) and re.search(
                r"\b(model_type|architecture|family)\b", ast.unparse(node.left)
            ):
                if any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in node.comparators):
                    wrong.append(f"{module.at(node)} {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "check"),
    [
        ("import pickle", test_no_deserialiser_that_runs_code_is_imported),
        ("def f():\n    from joblib import load", test_no_deserialiser_that_runs_code_is_imported),
        ("torch.load(path)", test_no_call_that_runs_found_code),
        ("eval(text)", test_no_call_that_runs_found_code),
        ("subprocess.run(line, shell=True)", test_no_call_that_runs_found_code),
        ("np.load(path, allow_pickle=True)", test_no_call_that_runs_found_code),
        ("Model.from_pretrained(path)", test_remote_code_is_switched_off_wherever_a_model_is_loaded),
        ("print(x)", test_no_print_anywhere_and_no_logging_in_the_rooms),
        ("import logging", test_no_print_anywhere_and_no_logging_in_the_rooms),
        ("path.write_text(x)", test_files_are_opened_only_in_the_rooms_that_may),
        ("json.loads(data)", test_json_of_strangers_goes_through_the_strict_reader),
        ("torch.manual_seed(0)", test_no_global_random_state),
        ("np.random.normal(size=3)", test_no_global_random_state),
        ("for x in set(y): pass", test_nothing_is_iterated_from_a_set),
        ("z = [x for x in {1} | set(y)]", test_nothing_is_iterated_from_a_set),
        ("z = list(frozenset(y))", test_nothing_is_iterated_from_a_set),
        ("x = 1  # noqa", test_no_silenced_check_and_no_unfinished_note),
        ("x = 1", test_one_idea_one_file_of_moderate_length_with_a_docstring),
        ("if dims.family == 'llama': pass", test_no_family_is_named_outside_the_tables),
    ],
)
def test_every_ban_catches_what_it_bans(source: str, check, modules) -> None:
    clean = next(module for module in modules if module.name == "mergebarrier.protect.exact")
    with pytest.raises(AssertionError):
        check([dataclasses.replace(clean, text=source, tree=ast.parse(source))])


def test_no_two_files_of_tests_share_a_name(root) -> None:
    """Test folders are no packages: pytest refuses to collect the second of two files of one name."""
    files = [path.name for path in (root / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(files) > 100 and len(set(files)) == len(files), sorted(name for name in files if files.count(name) > 1)
