from pathlib import Path

from setuptools import find_packages, setup

# Read, not imported: the package needs torch, which is not there yet while pip builds the wheel.
VERSION_FILE = Path(__file__).parent / "detzoo" / "version.py"
VERSION = VERSION_FILE.read_text().split('"')[1]

EXTRAS = {
    "timm": ["timm"],
    "onnx": ["onnx", "onnxscript", "onnxruntime"],
    "openvino": ["openvino"],
    "int8": ["openvino", "nncf"],
    "executorch": ["executorch"],
    "video": ["av"],
    "hub": ["huggingface_hub"],
    "supervision": ["supervision"],
    "pandas": ["pandas"],
}
TESTED = [package for name, packages in EXTRAS.items() if name != "executorch" for package in packages]

setup(
    name="detzoo",
    version=VERSION,
    description="A pluggable zoo of single-shot detectors in PyTorch",
    author="detzoo contributors",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["detzoo", "detzoo.*"]),
    package_data={"detzoo": ["py.typed"]},
    zip_safe=False,
    install_requires=[
        "torch>=2.11",
        "torchvision>=0.26",
        "numpy",
        "pillow",
        "pycocotools",
        "faster-coco-eval",
        "hydra-core>=1.3",
        "tqdm",
        "tensorboard",
        "defusedxml",
        "safetensors",
    ],
    extras_require=EXTRAS | {"dev": sorted({"pytest", "ruff", *TESTED})},
    entry_points={"console_scripts": ["detzoo = detzoo.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
