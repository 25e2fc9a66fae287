# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of Hugging Face transformers: logits at a reduced size, or mask and class queries."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from model_zoo.entry import HALF, UNIT_BGR, ZOO_CLASSES, Entry, Export, Instance, Network
from model_zoo.import_torchvision import import_segmentation
from model_zoo.random_weights import SPREAD, standardise

CLASSES = 150
"""Of ADE20K, the data set of most published weights."""


def _count(small: bool) -> int:
    return ZOO_CLASSES if small else CLASSES


def _logits(output: Any) -> torch.Tensor:
    return output.logits


def _post_processed(processor: str, **options: Any,
                    ) -> Callable[[Any, tuple[int, int]], torch.Tensor]:
    """The scores by ``post_process_semantic_segmentation`` of an image processor."""
    def post_process(output: Any, size: tuple[int, int]) -> torch.Tensor:
        import_segmentation()  # before the processors, which import torchvision
        import transformers
        processing = getattr(transformers, processor)()
        return processing.post_process_semantic_segmentation(
            output, target_sizes=[size], return_segmentation_scores=True,
            **options)[0].segmentation_scores

    return post_process


def _instances_by(processor: str) -> Callable[[Any], list[Instance]]:
    """The instances by ``post_process_instance_segmentation`` of an image processor."""
    def find(output: Any) -> list[Instance]:
        import_segmentation()
        import transformers
        found = getattr(transformers, processor)().post_process_instance_segmentation(
            output, return_binary_maps=True)[0]
        return [Instance(segment['label_id'], segment['score'], mask.numpy() > 0)
                for segment, mask in zip(found['segments_info'], found['segmentation'],
                                         strict=False)]  # of no segment, the map is all of -1

    return find


def _scored(module: torch.nn.Module, last: torch.nn.Module, processor: str = '') -> Network:
    def calibrate(batch: torch.Tensor) -> None:
        standardise((last,), module(batch).logits)

    return Network(module, _logits, calibrate, growth='bilinear',
                   post_process=_post_processed(processor) if processor else None)


def segformer(small: bool) -> Network:
    """SegFormer; B0 in full size."""
    from transformers import SegformerConfig
    from transformers import SegformerForSemanticSegmentation as Net
    sizes: dict[str, Any] = {'hidden_sizes': [8, 16, 24, 32], 'decoder_hidden_size': 32,
                             'num_attention_heads': [1, 2, 3, 4], 'depths': [1, 1, 1, 1]} \
        if small else {}
    module = Net(SegformerConfig(num_labels=_count(small), **sizes))
    return _scored(module, module.decode_head.classifier)


def mobilevit(small: bool) -> Network:
    """MobileViT with DeepLabV3."""
    from transformers import MobileViTConfig
    from transformers import MobileViTForSemanticSegmentation as Net
    sizes: dict[str, Any] = {'hidden_sizes': [16, 24, 32], 'neck_hidden_sizes': [
        8, 16, 16, 24, 32, 40, 64], 'aspp_out_channels': 32} if small else {}
    module = Net(MobileViTConfig(num_labels=_count(small), **sizes))
    return _scored(module, module.segmentation_head.classifier.convolution)


def upernet(small: bool) -> Network:
    """UperNet on ConvNeXt; tiny in full size."""
    from transformers import ConvNextConfig, UperNetConfig
    from transformers import UperNetForSemanticSegmentation as Net
    sizes: dict[str, Any] = {'depths': [1, 1, 1, 1], 'hidden_sizes': [8, 16, 24, 32]} if small \
        else {'depths': [3, 3, 9, 3], 'hidden_sizes': [96, 192, 384, 768]}
    backbone = ConvNextConfig(out_features=['stage1', 'stage2', 'stage3', 'stage4'], **sizes)
    module = Net(UperNetConfig(backbone_config=backbone, num_labels=_count(small),
                               hidden_size=32 if small else 512))
    return _scored(module, module.decode_head.classifier)


def dpt(small: bool) -> Network:
    """DPT on a ViT; base in full size."""
    from transformers import DPTConfig
    from transformers import DPTForSemanticSegmentation as Net
    sizes: dict[str, Any] = {
        'hidden_size': 32, 'num_hidden_layers': 4, 'num_attention_heads': 2,
        'intermediate_size': 64, 'backbone_out_indices': [0, 1, 2, 3], 'fusion_hidden_size': 16,
        'neck_hidden_sizes': [8, 16, 16, 16], 'image_size': 96} if small else {}
    module = Net(DPTConfig(num_labels=_count(small), **sizes))
    return _scored(module, module.head.head[4])


def beit(small: bool) -> Network:
    """BEiT with the head of UperNet; base in full size."""
    from transformers import BeitConfig
    from transformers import BeitForSemanticSegmentation as Net
    sizes: dict[str, Any] = {
        'hidden_size': 32, 'num_hidden_layers': 4, 'num_attention_heads': 2,
        'intermediate_size': 64, 'out_indices': [1, 2, 3, 4], 'image_size': 96} if small else \
        {'out_indices': [3, 5, 7, 11], 'image_size': 640}
    module = Net(BeitConfig(num_labels=_count(small), use_relative_position_bias=True,
                            use_auxiliary_head=False, attn_implementation='eager', **sizes))
    return _scored(module, module.decode_head.classifier, 'BeitImageProcessor')


def mobilenet_v2(small: bool) -> Network:
    """MobileNetV2 with DeepLabV3+, as Google's network for Pascal VOC."""
    from transformers import MobileNetV2Config
    from transformers import MobileNetV2ForSemanticSegmentation as Net
    module = Net(MobileNetV2Config(num_labels=_count(True) if small else 21, output_stride=8,
                                   depth_multiplier=0.35 if small else 1.0))
    return _scored(module, module.segmentation_head.classifier.convolution,
                   'MobileNetV2ImageProcessor')


_QUERY_FACTOR = 50
"""Factor of the query embeddings; without it, the untrained queries give nearly equal masks."""


def _queried(module: Any, embedder: torch.nn.Module, size: tuple[int, int] | None,
             classifier: Any = None, **more: Any) -> Network:
    """A network of queries.

    Args:
        module: the network.
        embedder: layers from queries to masks.
        size: to which the family resizes the masks before it combines them; None for no resize.
        classifier: layer from queries to classes; None for ``class_predictor``.
        more: arguments of ``Network``.
    """
    def scores_of(output: Any) -> torch.Tensor:
        masks = output.masks_queries_logits
        if size is not None:
            masks = functional.interpolate(masks, size=size, mode='bilinear', align_corners=False)
        classes = output.class_queries_logits.softmax(dim=-1)[..., :-1]
        return torch.einsum('bqc, bqhw -> bchw', classes, masks.sigmoid())

    def calibrate(batch: torch.Tensor) -> None:
        output = module(batch)
        standardise((classifier or module.class_predictor,),
                    output.class_queries_logits.movedim(2, 1))
        last = [layer for layer in embedder.modules() if isinstance(layer, torch.nn.Linear)][-1]
        factor = SPREAD / output.masks_queries_logits.std()
        last.weight.mul_(factor)
        last.bias.mul_(factor)

    return Network(module, scores_of, calibrate, growth='bilinear', **more)


def _diversify(queries: torch.nn.Embedding, decoder: torch.nn.Module) -> None:
    with torch.no_grad():
        queries.weight.mul_(_QUERY_FACTOR)
        for layer in decoder.modules():
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(layer.weight)


_SMALL: dict[str, Any] = {
    'hidden_dim': 32, 'encoder_layers': 1, 'encoder_feedforward_dim': 64, 'dim_feedforward': 64,
    'decoder_layers': 2, 'num_attention_heads': 2, 'num_queries': 12}
"""Sizes of a small query decoder."""


def _swin(small: bool) -> Any:
    """The config of a Swin backbone."""
    from transformers import SwinConfig
    sizes: dict[str, Any] = {'embed_dim': 16, 'depths': [1, 1, 1, 1], 'num_heads': [1, 2, 2, 4],
                             'window_size': 3} if small else {'window_size': 7}
    return SwinConfig(out_features=['stage1', 'stage2', 'stage3', 'stage4'],
                      image_size=96 if small else 384, **sizes)


_MASK2FORMER = (384, 384)
"""Size to which Mask2Former's processor resizes masks, whatever the size of the input."""


def mask2former(small: bool) -> Network:
    """Mask2Former on Swin; tiny in full size."""
    from transformers import Mask2FormerConfig
    from transformers import Mask2FormerForUniversalSegmentation as Net
    sizes: dict[str, Any] = {
        'feature_size': 32, 'mask_feature_size': 32, **_SMALL} if small else {}
    module = Net(Mask2FormerConfig(backbone_config=_swin(small), num_labels=_count(small),
                                   **sizes))
    decoder = module.model.transformer_module.decoder
    _diversify(module.model.transformer_module.queries_embedder, module.model.transformer_module)
    return _queried(module, decoder.mask_predictor.mask_embedder,
                    _MASK2FORMER, instances=_instances_by('Mask2FormerImageProcessor'))


def maskformer(small: bool) -> Network:
    """MaskFormer on Swin; tiny in full size."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerSwinConfig
    from transformers import MaskFormerForInstanceSegmentation as Net
    swin: dict[str, Any] = {'embed_dim': 16, 'depths': [1, 1, 1, 1], 'num_heads': [1, 2, 2, 4],
                            'window_size': 3} if small else \
        {'embed_dim': 96, 'depths': [2, 2, 6, 2], 'num_heads': [3, 6, 12, 24], 'window_size': 7}
    detr: dict[str, Any] = {
        'd_model': 32, 'decoder_layers': 2, 'decoder_ffn_dim': 64, 'decoder_attention_heads': 2,
        'encoder_attention_heads': 2, 'num_queries': 12} if small else {}
    backbone = MaskFormerSwinConfig(out_features=['stage1', 'stage2', 'stage3', 'stage4'],
                                    image_size=96 if small else 384, **swin)
    sizes: dict[str, Any] = {'fpn_feature_size': 32, 'mask_feature_size': 32} if small else {}
    module = Net(MaskFormerConfig(backbone_config=backbone, num_labels=_count(small),
                                  decoder_config=DetrConfig(**detr), **sizes))
    _diversify(module.model.transformer_module.queries_embedder, module.model.transformer_module)
    return _queried(module, module.mask_embedder, None,
                    instances=_instances_by('MaskFormerImageProcessor'))


def eomt(small: bool) -> Network:
    """EoMT on a ViT; base in full size."""
    from transformers import EomtConfig
    from transformers import EomtForUniversalSegmentation as Net
    size = 96 if small else 512
    sizes: dict[str, Any] = {
        'hidden_size': 32, 'num_hidden_layers': 3, 'num_attention_heads': 2, 'num_blocks': 1,
        'num_queries': 12} if small else {
        'hidden_size': 768, 'num_hidden_layers': 12, 'num_attention_heads': 12, 'num_blocks': 3,
        'num_queries': 100}
    module = Net(EomtConfig(image_size=size, num_labels=_count(small), **sizes))
    module.attn_mask_probs.zero_()  # as at the end of training: no masked attention
    _diversify(module.query, module.layers)
    return _queried(module, module.mask_head, (size, size), post_process=_post_processed(
        'EomtImageProcessor', size={'shortest_edge': size, 'longest_edge': size}))


_SEMANTIC_TASK = (49406, 518, 10549, 533, 29119, 49407)
"""Tokens of the task "semantic" by OneFormer's processor, without the padding."""


class Semantic(torch.nn.Module):
    """A OneFormer with the fixed task of semantic segmentation.

    Args:
        net: the network.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        task = torch.zeros(1, net.config.task_seq_len)
        task[0, :len(_SEMANTIC_TASK)] = torch.tensor(_SEMANTIC_TASK)
        self.register_buffer('task', task)

    def forward(self, pixels: torch.Tensor) -> Any:
        output = self.net(pixels, task_inputs=self.task.expand(len(pixels), -1))
        if torch.onnx.is_in_onnx_export():
            return output.class_queries_logits, output.masks_queries_logits
        return output


def oneformer(small: bool) -> Network:
    """OneFormer on Swin; tiny in full size."""
    from transformers import OneFormerConfig
    from transformers import OneFormerForUniversalSegmentation as Net
    sizes: dict[str, Any] = {
        'conv_dim': 32, 'mask_dim': 32, **_SMALL} if small else {}
    net = Net(OneFormerConfig(backbone_config=_swin(small), num_labels=_count(small), **sizes))
    transformer = net.model.transformer_module
    _diversify(transformer.queries_embedder, transformer)
    return _queried(Semantic(net), transformer.decoder.mask_embed, None,
                    transformer.decoder.class_embed,
                    post_process=_post_processed('OneFormerImageProcessor'))


_HALF = 'input: {{scale: 0.00784313725, mean: [1, 1, 1]}}'
_QUERIES = ('class_queries_logits', 'masks_queries_logits')

ENTRIES = (
    Entry('SegFormer', 'transformers', segformer, Export(outputs=('logits',)), in_ci=True),
    Entry('SegFormer dynamo', 'transformers', segformer,
          Export('dynamo', 20, external_data=True), in_ci=True),
    Entry('SegFormer fp16', 'transformers', segformer,
          Export(dtype=torch.float16, outputs=('logits',)), in_ci=True),
    Entry('SegFormer open', 'transformers', segformer,
          Export(opset=14, open_axes='all', outputs=('logits',)),
          config='input: {{size: {size}}}', in_ci=True),
    Entry('MobileViT', 'transformers', mobilevit, Export(outputs=('logits',)),
          small=(128, 128), feed=UNIT_BGR, in_ci=True,
          config='input: {{color: bgr, scale: 0.003921568627}}'),
    Entry('UperNet', 'transformers', upernet, Export('dynamo', 18), in_ci=True),
    Entry('DPT', 'transformers', dpt, Export(outputs=('logits',)), small=(96, 96),
          full=(384, 384), feed=HALF, in_ci=True,
          config=_HALF),
    Entry('Mask2Former', 'transformers', mask2former, Export(outputs=_QUERIES), small=_MASK2FORMER,
          full=_MASK2FORMER, config='output: {{kind: queries, grow_masks: true}}', in_ci=True),
    Entry('MaskFormer', 'transformers', maskformer, Export(outputs=_QUERIES), small=(96, 96),
          full=(384, 384), in_ci=True),
    Entry('EoMT', 'transformers', eomt, Export(outputs=(*_QUERIES, 'last_hidden_state')),
          small=(96, 96), config='output: {{kind: queries, grow_masks: true}}', in_ci=True),
    Entry('OneFormer', 'transformers', oneformer, Export(outputs=_QUERIES), small=(96, 96),
          full=(384, 384), in_ci=True),
    Entry('BEiT', 'transformers', beit, Export('dynamo', 18), small=(96, 96), full=(640, 640),
          feed=HALF, config=_HALF),
    Entry('MobileNetV2', 'transformers', mobilenet_v2, Export(outputs=('logits',)),
          small=(97, 129), full=(513, 513), feed=HALF, config=_HALF, in_ci=True),
)
