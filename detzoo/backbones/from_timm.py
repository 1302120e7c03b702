"""Any trunk of timm that gives maps of several strides (github.com/huggingface/pytorch-image-models).

timm is an extra, `pip install detzoo[timm]`, and is imported when the first such trunk is built.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..layers import batch_norm, normal_init, xavier_init
from ..lookup import suggest
from .base import Backbone
from .extras import SSDLITE_EXTRAS, halving_extra, ssdlite_extras

PREFIX = "timm/"
TRACED_SIDE = 256  # pixels: a size that all of timm's trunks take that take several
LIST = "timm.list_models() lists those it knows"

ExtraKind = Literal["ssd", "ssdlite"]


class TimmBackbone(Backbone):
    """A network of timm's, some of whose maps are used, and extra blocks behind the last one.

    The network runs itself, so it is no chain of layers; `trunk` lists the modules that it consists of, in order, for
    whoever wants to freeze some of them.

    Some networks have parameters that only the maps left out depend on. They stay, so that timm's weights fit, and are
    counted as any others; but they are frozen, since no gradient ever reaches them, for which processes that train
    together would wait.

    Args:
        network: made with `features_only=True`; states `feature_info`.
        unused: how many of its maps, the finest ones, are left out.
        extras: see `Backbone`.
        channels: see `Backbone`.
        first_stride: see `Backbone`.
    """

    def __init__(
        self, network: nn.Module, unused: int, extras: Sequence[nn.Module], channels: Sequence[int], first_stride: int
    ) -> None:
        nn.Module.__init__(self)  # not Backbone's, which is for chains
        self.network = network
        self.unused = unused
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"  # as in MambaOut
        self.norms = nn.ModuleDict()
        self.extras = nn.ModuleList(extras)
        self.channels = list(channels)
        self.first_stride = first_stride
        self.layers, self.stages = cut_into_stages(network)
        self.frozen_stages = 0
        self.unneeded = unneeded_parameters(network, unused)
        self._freeze_unneeded()

    @property
    def trunk(self) -> list[nn.Module]:  # looked up anew: batch norms may have been exchanged for synchronised ones
        return [self.network.get_submodule(name) for name in self.layers]

    def forward(self, x: Tensor) -> list[Tensor]:
        """One [B, channels[k], H_k, W_k] map per level, finest first, from a batch [B, 3, H, W]."""
        maps = self.network(x)[self.unused :]
        if self.channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        for block in self.extras:
            maps.append(block(maps[-1]))
        return maps

    def train_last(self, stages: int) -> "TimmBackbone":
        """As with any `Backbone`; what is trained of these stages is what the maps depend on."""
        super().train_last(stages)
        self._freeze_unneeded()
        return self

    def _freeze_unneeded(self) -> None:
        for name in self.unneeded:
            self.network.get_parameter(name).requires_grad_(False)


def timm_trunk(name: str) -> Callable[..., Backbone]:
    """What builds the trunk that timm calls `name`."""

    def build(
        levels: int = 6,
        first_stride: int = 16,
        extras: ExtraKind = "ssdlite",
        extra_channels: Sequence[int] = SSDLITE_EXTRAS,
    ) -> Backbone:
        """A trunk of timm's from its first map of a stride, and as many extra blocks as are missing.

        By default maps as in SSDlite: 20/10/5/3/2/1 at 320 pixels. `first_stride=8, extras="ssd"` begins as SSD300
        does, with 38/19/10/5/3/2 at 300.

        Args:
            levels: maps in all.
            first_stride: pixels between cells of the first map, or the next larger stride that the trunk has.
            extras: blocks behind the trunk that halve the map: `"ssd"`, plain convolutions without norm (SSD, figure
                2); `"ssdlite"`, separable ones with batch norm.
            extra_channels: of these blocks; the last number holds for all that come later.

        Raises:
            ValueError: without timm; for a name that it does not know, for one whose trunk gives no maps of several
                strides or takes one size of images, and for numbers that do not fit.
        """
        if extras not in (known := ("ssd", "ssdlite")):
            raise ValueError(f"timm/{name}: extras must be one of {known}, got {extras!r}")
        if not extra_channels or min(extra_channels) < 2:
            raise ValueError(f"timm/{name}: extra_channels must be numbers of at least 2, got {list(extra_channels)}")
        network = _network(name)
        unused, strides, channels = _used_maps(name, network, levels, first_stride)
        missing = levels - len(channels)
        behind = [*extra_channels, *[extra_channels[-1]] * missing][:missing]
        blocks = _extras(extras, channels[-1], behind)
        return TimmBackbone(network, unused, blocks, [*channels, *behind], strides[0])

    return build


def timm_weights(name: str) -> dict[str, Tensor]:
    """timm's own weights of the network that its trunk called `name` ("timm/resnet18.a1_in1k") is, downloaded.

    What `preprocess` has to do for them is in timm's `pretrained_cfg`; for most it is ImageNet's mean and standard
    deviation.

    Raises:
        ValueError: if there are none, or they cannot be had.
    """
    name = name.removeprefix(PREFIX)
    timm = _import_timm(name)
    if not timm.list_pretrained(name.partition(".")[0]):
        raise ValueError(f"timm/{name}: timm has no weights of this trunk: leave weights_backbone out (null)")
    return _network(name, pretrained=True).state_dict()


def _network(name: str, *, pretrained: bool = False) -> nn.Module:
    """timm's network, cut behind its last map."""
    timm = _import_timm(name)
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise ValueError(f"unknown backbone 'timm/{name}': {_nearest(architecture, timm.list_models())}")
    tags = {known.partition(".")[2] for known in timm.list_pretrained(architecture)}
    if tag and tag not in tags:
        raise ValueError(f"timm/{name}: no weights {tag!r} of {architecture}: {suggest(tag, tags)}")
    if timm.get_pretrained_cfg(name).fixed_input_size:
        size = timm.get_pretrained_cfg(name).input_size[1:]
        raise ValueError(f"timm/{name} takes images of one size only, {size}: choose a convolutional one")
    try:
        network = timm.create_model(name, features_only=True, pretrained=pretrained)
    except OSError as error:  # so are the errors of huggingface_hub
        raise ValueError(f"timm/{name}: timm cannot get its weights: {error}") from error
    return split_norms(network)


def split_norms(network: nn.Module) -> nn.Module:
    """The network with each batch norm that is an activation as well in two: an exchange of the norms, as for
    synchronised ones, would lose the activation.
    """
    from timm.layers import BatchNormAct2d

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BatchNormAct2d):
                norm = nn.BatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
                norm._parameters, norm._buffers = child._parameters, child._buffers
                pair = nn.Sequential(norm, child.drop, child.act)
                pair._forward_hooks, pair._forward_pre_hooks = child._forward_hooks, child._forward_pre_hooks
                setattr(parent, name, pair)
    return network


def _import_timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"the backbone 'timm/{name}' needs timm: pip install detzoo[timm]") from error
    return timm


def _nearest(name: str, known: Sequence[str]) -> str:
    """`suggest` with the prefix, and without the thousand names that timm knows."""
    question, answer = "did you mean '", suggest(name, known)
    return f"{question}{PREFIX}{answer[len(question) :]}" if answer.startswith(question) else LIST


def _used_maps(name: str, network: nn.Module, levels: int, first_stride: int) -> tuple[int, list[int], list[int]]:
    """How many of the trunk's maps are left out, then stride and channels of the others."""
    strides, channels = network.feature_info.reduction(), network.feature_info.channels()
    if strides != sorted(set(strides)):
        raise ValueError(
            f"timm/{name}: the maps of this trunk do not shrink, as is the way of plain vision transformers (strides "
            f"{strides}): choose one with stages, such as timm/convnext_tiny"
        )
    unused = sum(stride < first_stride for stride in strides)
    if unused == len(strides):
        raise ValueError(f"timm/{name}: first_stride = {first_stride}, but its maps have the strides {strides}")
    if levels < len(strides) - unused:
        raise ValueError(
            f"timm/{name}: levels = {levels}, but this trunk alone gives {len(strides) - unused} maps from stride "
            f"{strides[unused]} on: ask for as many, or for a larger first_stride (strides {strides})"
        )
    return unused, strides[unused:], channels[unused:]


def _extras(kind: ExtraKind, inputs: int, outputs: Sequence[int]) -> list[nn.Module]:
    if kind == "ssdlite":
        blocks, start = ssdlite_extras(inputs, outputs, batch_norm()), normal_init
    else:
        blocks, start = [halving_extra(*pair) for pair in zip((inputs, *outputs), outputs)], xavier_init
    for block in blocks:
        start(block)
    return blocks


def unneeded_parameters(network: nn.Module, unused: int) -> list[str]:
    """Names of the parameters on which none of the maps from number `unused` on depends: maps without content are
    followed back to what they would have been computed from.
    """
    training = network.training
    tensors = [*network.named_parameters(), *network.named_buffers()]
    state = {name: tensor.detach().to("meta").requires_grad_(tensor.requires_grad) for name, tensor in tensors}
    image = torch.empty(1, 3, TRACED_SIDE, TRACED_SIDE, device="meta")
    with torch.enable_grad():
        maps = functional_call(network.eval(), state, (image,))[unused:]
    network.train(training)
    needed = _leaves_of(maps)
    return [name for name, _ in network.named_parameters() if state[name] not in needed]


def _leaves_of(outputs: Sequence[Tensor]) -> set[Tensor]:
    """The parameters from which tensors were computed, as autograd has noted it."""
    leaves, seen, nodes = set(), set(), [x.grad_fn for x in outputs]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [source for source, _ in node.next_functions]
        if hasattr(node, "variable"):  # where gradients are accumulated
            leaves.add(node.variable)
    return leaves


def cut_into_stages(network: nn.Module) -> tuple[list[str], list[slice]]:
    """The modules of which a network of timm's consists, by name and in order, and the stages, one for each map.

    Modules are told by the end of the stage in which they stand, as timm registers them in the order of their use. A
    network with parameters outside of the modules found so is one stage.
    """
    ends = _ends_of_stages(network)
    names = _modules_within(network, "", ends)
    inside = {p for name in names for p in network.get_submodule(name).parameters()}
    if not ends <= set(names) or inside != set(network.parameters()):
        return [""], [slice(0, 1)]
    starts = [0, *(k + 1 for k, name in enumerate(names) if name in ends)][: len(ends)]
    return names, [slice(*pair) for pair in zip(starts, [*starts[1:], len(names)])]


def _ends_of_stages(network: nn.Module) -> set[str]:
    """Names of the modules behind which the maps leave; some of timm's wrappers rename or contain the network."""
    modules = dict(network.named_modules())
    ends = set()
    for name in network.feature_info.module_name():
        spellings = (name, name.replace(".", "_"), f"model.{name}")
        ends.add(next((spelling for spelling in spellings if spelling in modules), name))
    return ends


def _modules_within(module: nn.Module, prefix: str, ends: set[str]) -> list[str]:
    """The largest modules inside that do not reach across the end of a stage."""
    names = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        across = any(end.startswith(f"{path}.") for end in ends)
        names += _modules_within(child, f"{path}.", ends) if across else [path]
    return names
