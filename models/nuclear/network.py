"""The network: a small residual U-Net with three dense heads."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

__all__ = ["STRIDE", "WIDTHS", "build_network", "heads_loss"]

WIDTHS = (16, 32, 48, 80, 112)  #: feature maps per level; each level halves the resolution
STRIDE = 2 ** (len(WIDTHS) - 1)  #: height and width must be multiples of this
TOUCH_WEIGHT = 3.0  #: extra loss weight of pixels where two nuclei meet


def build_network(
    widths: tuple[int, ...] = WIDTHS,
    *,
    channels: int = 1,
    heads: int = 3,
    name: str = "nuclear_segmentation",
) -> keras.Model:
    """Build the network.

    Input: (batch, Y, X, channels) float32, Y and X multiples of 2 ** (len(widths) - 1).
    Output: (batch, Y, X, heads) float32; of the nuclear model inner distance, outer distance and
    the logit of the foreground.

    The encoder-decoder with skips is that of Ronneberger et al. 2015; the residual blocks are those
    of He et al. 2016; the distance heads are those of Greenwald et al. 2022.
    """
    image = keras.Input((None, None, channels), name="image")
    features = LocalContrast(name="local_contrast", dtype="float32")(image)
    skips = []
    for level, width in enumerate(widths):
        if level:
            features = layers.MaxPooling2D(2)(features)
        features = _residual_block(features, width, name=f"down{level}")
        skips.append(features)
    features = _residual_block(features, widths[-1], name="context", dilation=2)
    for level in reversed(range(len(widths) - 1)):
        features = layers.Conv2D(widths[level], 1, use_bias=False, name=f"up{level}_in")(features)
        features = Double(name=f"up{level}_double")(features)
        features = layers.Concatenate()([features, skips[level]])
        features = _residual_block(features, widths[level], name=f"up{level}")
    outputs = layers.Conv2D(heads, 1, name="heads", dtype="float32")(features)
    return keras.Model(image, outputs, name=name)


def heads_loss(truth: tf.Tensor, heads: tf.Tensor) -> tf.Tensor:
    """Compare heads to truth.

    truth: (batch, Y, X, 4) float32: inner distance, outer distance, foreground in {0, 1}, and 1
        where two nuclei meet.
    heads: (batch, Y, X, 3) as `build_network` gives them.
    Returns a scalar: squared errors of the distances, cross-entropy and soft Dice of the
    foreground.
    """
    foreground = truth[..., 2]
    weight = 1.0 + TOUCH_WEIGHT * truth[..., 3]
    distance_error = tf.reduce_sum(tf.square(heads[..., :2] - truth[..., :2]), -1)
    distance_loss = tf.reduce_mean(weight * (1.0 + 2.0 * foreground) * distance_error)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(foreground, heads[..., 2])
    probability = tf.sigmoid(heads[..., 2])
    plane = (1, 2)
    smooth = 20.0  # keeps the ratio defined on empty crops
    overlap = 2.0 * tf.reduce_sum(probability * foreground, plane) + smooth
    total = tf.reduce_sum(probability, plane) + tf.reduce_sum(foreground, plane) + smooth
    dice_loss = tf.reduce_mean(1.0 - overlap / total)
    return 3.0 * distance_loss + tf.reduce_mean(weight * cross_entropy) + 0.5 * dice_loss


@keras.saving.register_keras_serializable("kiosk_tasks")
class LocalContrast(layers.Layer):
    """Three views of a (batch, Y, X, C) image as (batch, Y, X, 3 C).

    As it is; its logarithm, in which dim nuclei stand beside bright ones; and standardised by mean
    and deviation over about 64 px, in which they stand out of haze.
    """

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """Stack the three views."""
        size = tf.shape(image)[1:3]
        moments = tf.concat([image, image * image], -1)
        moments = tf.nn.avg_pool2d(moments, 8, 8, "SAME")
        for _ in range(2):
            moments = tf.nn.avg_pool2d(moments, 5, 1, "SAME")
        mean, square = tf.split(moments, 2, -1)
        deviation = tf.sqrt(tf.maximum(square - mean * mean, 1e-6))
        mean, deviation = tf.split(
            tf.cast(tf.image.resize(tf.concat([mean, deviation], -1), size), image.dtype), 2, -1
        )
        compressed = tf.math.log(1.0 + 20.0 * tf.maximum(image, 0.0)) / 3.0
        standardised = 0.5 * (image - mean) / (deviation + 0.05)
        return tf.concat([image, compressed, standardised], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the stacked views."""
        return (*input_shape[:-1], 3 * (input_shape[-1] or 1))


@keras.saving.register_keras_serializable("kiosk_tasks")
class Double(layers.Layer):
    """Double height and width, bilinearly; unlike `UpSampling2D` it takes unknown sizes."""

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Resize the features."""
        size = 2 * tf.shape(features)[1:3]
        return tf.cast(tf.image.resize(features, size), features.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the resized features."""
        batch, height, width, channels = input_shape
        return (batch, height and 2 * height, width and 2 * width, channels)


def _residual_block(features: Any, width: int, *, name: str, dilation: int = 1) -> Any:
    shortcut = features
    if features.shape[-1] != width:
        shortcut = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_shortcut")(features)
    for index in (1, 2):
        features = layers.Conv2D(
            width,
            3,
            padding="same",
            use_bias=False,
            dilation_rate=dilation,
            name=f"{name}_conv{index}",
        )(features)
        features = layers.BatchNormalization(momentum=0.98, name=f"{name}_norm{index}")(features)
        if index == 1:
            features = layers.ReLU()(features)
    return layers.ReLU()(layers.Add()([features, shortcut]))
