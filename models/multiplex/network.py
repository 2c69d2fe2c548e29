"""The network: the nuclear model's U-Net with two channels in and four heads out."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.nuclear.network import build_network as build_unet

__all__ = ["HEADS", "STRIDE", "WIDTHS", "build_network", "heads_loss"]

WIDTHS = (16, 24, 40, 64, 88)  #: feature maps per level; each level halves the resolution
STRIDE = 2 ** (len(WIDTHS) - 1)  #: height and width must be multiples of this

#: maps of each head in the output, in order; the names are those of the served model
HEADS = {
    "whole_cell_inner_distance": slice(0, 1),
    "whole_cell_pixelwise": slice(1, 4),
    "nuclear_inner_distance": slice(4, 5),
    "nuclear_pixelwise": slice(5, 8),
}

DISTANCE_WEIGHT = 3.0  #: of the squared error of the distances
BORDER_WEIGHT = 2.0  #: extra weight of borders, which are few pixels
DICE_WEIGHT = 0.5
INTERIOR = 1  #: class of `*_pixelwise`; 0 is background, 2 a cell's border


def build_network() -> keras.Model:
    """Build the network.

    Input: (batch, Y, X, 2) float32, nuclear and membrane channel, Y and X multiples of `STRIDE`.
    Output: (batch, Y, X, 8) float32, see `HEADS`; logits of the classes.
    """
    return build_unet(WIDTHS, channels=2, heads=8, name="multiplex_segmentation")


def heads_loss(truth: tf.Tensor, heads: tf.Tensor) -> tf.Tensor:
    """Compare heads to truth.

    truth: (batch, Y, X, 4) float32: inner distance and class of whole cells, the same of nuclei.
    heads: (batch, Y, X, 8) as `build_network` gives them.
    Returns a scalar, the sum over both kinds of object: squared error of the distance,
    cross-entropy and soft Dice of the classes.
    """
    whole = _object_loss(truth[..., 0], truth[..., 1], heads[..., 0:4])
    return whole + _object_loss(truth[..., 2], truth[..., 3], heads[..., 4:8])


def _object_loss(distance: tf.Tensor, classes: tf.Tensor, heads: tf.Tensor) -> tf.Tensor:
    wanted = tf.one_hot(tf.cast(classes, tf.int32), 3)
    inside = 1.0 - wanted[..., 0]
    weight = 1.0 + BORDER_WEIGHT * wanted[..., 2]
    error = tf.square(heads[..., 0] - distance)
    distance_loss = tf.reduce_mean((1.0 + 2.0 * inside) * error)
    logits = heads[..., 1:]
    cross_entropy = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
    found = tf.nn.softmax(logits)
    plane = (1, 2)
    smooth = 20.0  # keeps the ratio defined on empty crops
    overlap = 2.0 * tf.reduce_sum(found * wanted, plane) + smooth
    total = tf.reduce_sum(found, plane) + tf.reduce_sum(wanted, plane) + smooth
    dice_loss = tf.reduce_mean(1.0 - overlap / total)
    return (
        DISTANCE_WEIGHT * distance_loss
        + tf.reduce_mean(weight * cross_entropy)
        + DICE_WEIGHT * dice_loss
    )
