"""Read settings.ini, the one place that describes the package, and hand it to setuptools."""
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="], interpolation=None)
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]

STATUS = {"1": "1 - Planning", "2": "2 - Pre-Alpha", "3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}

def absolute(text):
    "Markdown whose links and pictures point into the repository at this version: a package index shows README.md without it."
    tree, code = f"v{cfg['version']}", r"(^```.*?^```|`[^`\n]*`)"
    def resolved(part):
        part = re.sub(r'(!\[[^\]]*\]\(|<img src=")(?!https?:)', rf"\1{cfg['git_url']}/raw/{tree}/", part)
        return re.sub(r"(?<=\]\()(?!https?:|mailto:|#)", f"{cfg['git_url']}/blob/{tree}/", part)
    return "".join(part if i % 2 else resolved(part) for i, part in enumerate(re.split(code, text, flags=re.M | re.S)))


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=absolute((here / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license=cfg["license"],
    keywords=cfg["keywords"].split(),
    url=cfg["git_url"],
    project_urls={"Documentation": cfg["doc_host"] + cfg["doc_baseurl"], "Source": cfg["git_url"]},
    classifiers=[
        f"Development Status :: {STATUS[cfg['status']]}",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=f">={cfg['min_python']}",
    packages=sorted(".".join(p.parent.relative_to(here).parts) for p in (here / cfg["lib_name"]).rglob("__init__.py")),
    package_data={cfg["lib_name"]: ["py.typed"]},
    install_requires=cfg["requirements"].split(),
    extras_require={"dev": cfg["dev_requirements"].split(), "bench": cfg["bench_requirements"].split(), "mitigation": cfg["mitigation_requirements"].split(),
                    "arviz": cfg["arviz_requirements"].split(), "qasm": cfg["qasm_requirements"].split()},
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
