"""One call of an ATen operator, its arguments by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["Call", "tensors_in"]

torch: Any = import_module("torch")

_is_wrapper: Any = import_module("torch.utils._python_dispatch").is_traceable_wrapper_subclass


@dataclass(eq=False)
class Call:
    """What is called, with what."""

    func: Any
    arguments: dict[str, Any]

    @classmethod
    def of(cls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Bind arguments to their names; those not given have their defaults."""
        names = [argument.name for argument in func._schema.arguments]
        arguments = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
        arguments.update(zip(names, args, strict=False))
        arguments.update(kwargs)
        return cls(func, arguments)

    @property
    def name(self) -> str:
        """As PyTorch calls it, without the overload: `aten::add_`."""
        name: str = self.func._schema.name
        return name

    @property
    def op(self) -> str:
        """The same without namespace, and without the underscore of an operation in place."""
        return self.name.partition("::")[2].removesuffix("_")

    @property
    def is_composite(self) -> bool:
        """Whether PyTorch itself says what simpler operators it is made of."""
        name = self.func.name()
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"))

    @property
    def inputs(self) -> list[Any]:
        """The tensors among the arguments, also those in lists."""
        return tensors_in(list(self.arguments.values()))

    @property
    def written(self) -> list[Any]:
        """The tensors that it changes in place."""
        changed = [
            self.arguments.get(argument.name)
            for argument in self.func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        return tensors_in(changed)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, *names: str) -> Any:
        """Return the first of these arguments that there is, else None."""
        return next((self.arguments[name] for name in names if self.arguments.get(name) is not None), None)


def tensors_in(values: Any) -> list[Any]:
    """Return the tensors in lists, tuples and dictionaries within one another, and in objects with attributes."""
    found: list[Any] = []
    _collect(values, found, set())
    return found


def _collect(value: Any, found: list[Any], seen: set[int]) -> None:
    # no function within a function: one that calls itself would keep the tensors until garbage is collected
    if isinstance(value, torch.Tensor) and not _is_wrapper(value):
        found.append(value)
    elif isinstance(value, str | bytes | int | float | None) or id(value) in seen:
        return
    else:
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            parts = [getattr(value, name) for name in value.__tensor_flatten__()[0]]
        elif isinstance(value, dict):
            parts = list(value.values())
        elif isinstance(value, list | tuple | set):
            parts = list(value)
        elif hasattr(value, "__dict__") and not isinstance(value, type | torch.nn.Module):
            parts = list(vars(value).values())
        else:
            return
        for part in parts:
            _collect(part, found, seen)
