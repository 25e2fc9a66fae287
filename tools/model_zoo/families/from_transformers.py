# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Hugging Face transformers: logits at a part of the size, or queries of masks and classes."""

from typing import Any

import torch
from torch.nn import functional

from model_zoo.entry import HALF, PLAIN_BGR, ZOO_CLASSES, Entry, Export, Network
from model_zoo.random_weights import SPREAD, standardise

CLASSES = 150
"""Of ADE20K, which most of the published weights are trained on."""


def _count(small: bool) -> int:
    return ZOO_CLASSES if small else CLASSES


def _logits(output: Any) -> torch.Tensor:
    return output.logits


def _scored(module: torch.nn.Module, last: torch.nn.Module) -> Network:
    def settle(batch: torch.Tensor) -> None:
        standardise((last,), module(batch).logits)

    return Network(module, _logits, settle, growth='bilinear')


def segformer(small: bool) -> Network:
    """SegFormer, B0 where it is full."""
    from transformers import SegformerConfig
    from transformers import SegformerForSemanticSegmentation as Net
    sizes: dict[str, Any] = {'hidden_sizes': [8, 16, 24, 32], 'decoder_hidden_size': 32,
                             'depths': [1, 1, 1, 1]} if small else {}
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
    """UperNet on ConvNeXt, tiny where it is full."""
    from transformers import ConvNextConfig, UperNetConfig
    from transformers import UperNetForSemanticSegmentation as Net
    sizes: dict[str, Any] = {'depths': [1, 1, 1, 1], 'hidden_sizes': [8, 16, 24, 32]} if small \
        else {'depths': [3, 3, 9, 3], 'hidden_sizes': [96, 192, 384, 768]}
    backbone = ConvNextConfig(out_features=['stage1', 'stage2', 'stage3', 'stage4'], **sizes)
    module = Net(UperNetConfig(backbone_config=backbone, num_labels=_count(small),
                               hidden_size=32 if small else 512))
    return _scored(module, module.decode_head.classifier)


def dpt(small: bool) -> Network:
    """DPT on a ViT, base where it is full."""
    from transformers import DPTConfig
    from transformers import DPTForSemanticSegmentation as Net
    sizes: dict[str, Any] = {
        'hidden_size': 32, 'num_hidden_layers': 4, 'num_attention_heads': 2,
        'intermediate_size': 64, 'backbone_out_indices': [0, 1, 2, 3], 'fusion_hidden_size': 16,
        'neck_hidden_sizes': [8, 16, 16, 16], 'image_size': 96} if small else {}
    module = Net(DPTConfig(num_labels=_count(small), **sizes))
    return _scored(module, module.head.head[4])


_DIFFERENT = 50
"""Factor of the queries' embeddings: untrained, all queries would say the same."""


def _queried(module: Any, embedder: torch.nn.Module, size: tuple[int, int] | None) -> Network:
    """A network of queries.

    Args:
        module: the network.
        embedder: what makes masks of queries.
        size: what the family brings the masks to before it combines them; None leaves them.
    """
    def answer(output: Any) -> torch.Tensor:
        masks = output.masks_queries_logits
        if size is not None:
            masks = functional.interpolate(masks, size=size, mode='bilinear', align_corners=False)
        classes = output.class_queries_logits.softmax(dim=-1)[..., :-1]
        return torch.einsum('bqc, bqhw -> bchw', classes, masks.sigmoid())

    def settle(batch: torch.Tensor) -> None:
        output = module(batch)
        standardise((module.class_predictor,), output.class_queries_logits.movedim(2, 1))
        last = [layer for layer in embedder.modules() if isinstance(layer, torch.nn.Linear)][-1]
        factor = SPREAD / output.masks_queries_logits.std()
        last.weight.mul_(factor)
        last.bias.mul_(factor)

    with torch.no_grad():
        decoder = module.model.transformer_module
        decoder.queries_embedder.weight.mul_(_DIFFERENT)
        for layer in decoder.modules():
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(layer.weight)
    return Network(module, answer, settle, growth='bilinear')


def mask2former(small: bool) -> Network:
    """Mask2Former on Swin, tiny where it is full."""
    from transformers import Mask2FormerConfig, SwinConfig
    from transformers import Mask2FormerForUniversalSegmentation as Net
    sizes: dict[str, Any] = {
        'feature_size': 32, 'mask_feature_size': 32, 'hidden_dim': 32, 'encoder_layers': 1,
        'encoder_feedforward_dim': 64, 'dim_feedforward': 64, 'decoder_layers': 2,
        'num_attention_heads': 2, 'num_queries': 12} if small else {}
    swin: dict[str, Any] = {'embed_dim': 16, 'depths': [1, 1, 1, 1], 'num_heads': [1, 2, 2, 4],
                            'window_size': 3} if small else {'window_size': 7}
    backbone = SwinConfig(out_features=['stage1', 'stage2', 'stage3', 'stage4'],
                          image_size=96 if small else 384, **swin)
    module = Net(Mask2FormerConfig(backbone_config=backbone, num_labels=_count(small), **sizes))
    decoder = module.model.transformer_module.decoder
    return _queried(module, decoder.mask_predictor.mask_embedder,
                    (96, 96) if small else (384, 384))


def maskformer(small: bool) -> Network:
    """MaskFormer on Swin, tiny where it is full."""
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
    return _queried(module, module.mask_embedder, None)


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
          small=(128, 128), feed=PLAIN_BGR, in_ci=True,
          config='input: {{color: bgr, scale: 0.003921568627}}'),
    Entry('UperNet', 'transformers', upernet, Export('dynamo', 18), in_ci=True),
    Entry('DPT', 'transformers', dpt, Export(outputs=('logits',)), small=(96, 96),
          full=(384, 384), feed=HALF, in_ci=True,
          config='input: {{scale: 0.00784313725, mean: [1, 1, 1]}}'),
    Entry('Mask2Former', 'transformers', mask2former, Export(outputs=_QUERIES), small=(96, 96),
          full=(384, 384), config='output: {{kind: queries, grow_masks: true}}', in_ci=True),
    Entry('MaskFormer', 'transformers', maskformer, Export(outputs=_QUERIES), small=(96, 96),
          full=(384, 384), in_ci=True),
)
