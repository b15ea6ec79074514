"""Image encoders: loading, tasks, frozen heads, accuracy."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.evaluate.images.encoders import (
        Encoder,
        encoder_tensors,
        load_encoder,
        prepared_pictures,
        save_encoder,
        training_pictures,
    )
    from mergebarrier.evaluate.images.glyph_cnn import CONFIG, GlyphCnn
    from mergebarrier.evaluate.images.image_folders import read_image_folder
    from mergebarrier.evaluate.images.image_scores import accuracy, image_logits, pixels, predict
    from mergebarrier.evaluate.images.image_tasks import (
        TASK_SUFFIX,
        ImageSplit,
        ImageTask,
        read_image_task,
        write_image_task,
    )
    from mergebarrier.evaluate.images.predictor import EncoderPredictor
    from mergebarrier.evaluate.images.preparation import read_preparation
    from mergebarrier.evaluate.images.sentences import load_sentence_encoder
    from mergebarrier.evaluate.images.tail import Tail
    from mergebarrier.evaluate.images.text_heads import TEMPLATES, names_head, text_head

__all__ = [
    "CONFIG",
    "TASK_SUFFIX",
    "TEMPLATES",
    "Encoder",
    "EncoderPredictor",
    "GlyphCnn",
    "ImageSplit",
    "ImageTask",
    "Tail",
    "accuracy",
    "encoder_tensors",
    "image_logits",
    "load_encoder",
    "load_sentence_encoder",
    "names_head",
    "pixels",
    "predict",
    "prepared_pictures",
    "read_image_folder",
    "read_image_task",
    "read_preparation",
    "save_encoder",
    "text_head",
    "training_pictures",
    "write_image_task",
]

lazy.open_door(__name__)
