"""Optional dependencies: the modules of each extra, and the message that says which extra is missing.

`pip install steadywire` brings server, client, demo, proxy, conformance kit and pytest fixtures. Simulation,
studies, figures and notebooks need the extra `lab`.
"""

EXTRAS = {
    "lab": (
        "SALib",
        "anywidget",
        "cloudpickle",
        "ipywidgets",
        "joblib",
        "jupyterlab",
        "matplotlib",
        "numpy",
        "optuna",
        "pandas",
        "pyarrow",
        "scipy",
        "simpy",
    ),
    "cluster": ("distributed",),
    "test": ("hypothesis",),
}
"""Top-level modules by the extra that installs them."""


def advice(error: ModuleNotFoundError) -> str | None:
    """What to install, if `error` is about a module of an extra; else None."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"this needs {module}, which is not installed; pip install 'steadywire[{extra}]'"
    return None
