"""The list of use cases. Lazy: only the one that is asked for is imported."""

from __future__ import annotations

import pkgutil
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import usecases
from shared.errors import UserError, nearest
from shared.usecase import UseCase

GROUP = "usecases"  # of entry points
OURS = ("recommendation", "fraud_detection", "lane_detection", "medical_imaging", "chatbot")


def find() -> dict[str, EntryPoint]:
    """Every use case by name, none imported: ours, other packages below `usecases`, entry points of what is installed.

    Of several with one name the first counts.
    """
    below = sorted(module.name for module in pkgutil.iter_modules(usecases.__path__) if module.ispkg)
    found = {name: EntryPoint(name, f"{usecases.__name__}.{name}:USECASE", GROUP) for name in dict.fromkeys((*OURS, *below))}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, point)
    return found


MODULES = find()


def get(name: str) -> UseCase:
    """Import a use case.

    Raises:
        UserError: there is none of this name, which offers the nearest one; or what has this name cannot be used.
    """
    if name not in MODULES:
        how = nearest(name, MODULES)
        if (Path(name) / "pyproject.toml").is_file():  # as `usecases new` writes it
            how = f"The project in ./{name} is to be installed first: pip install -e ./{name}"
        raise UserError(f"There is no use case '{name}'. {how}")
    point = MODULES[name]
    try:
        usecase = point.load()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody's package raises when it is imported
        said = f"{type(error).__name__}: {error}"
        raise UserError(f'The use case {name} cannot be loaded ({said}). See where: python -c "import {point.module}"') from error
    if not isinstance(usecase, UseCase) or usecase.name != name:
        what = f"the use case '{usecase.name}'" if isinstance(usecase, UseCase) else f"a {type(usecase).__name__}"
        raise UserError(f"The use case {name} cannot be used: {point.value} is {what}. Mend the entry point or its name.")
    return usecase
