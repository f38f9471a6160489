"""Makes the Keras models of this folder with TensorFlow's converter (2.21): `python make_keras.py`.

Small networks with untrained weights, for what the converter writes: fused ReLU6, a depthwise multiplier, pools,
per-channel dense layers without a bias, softmax, integer ends and float ones.
"""

import numpy as np
import tensorflow as tf

SHAPE = (32, 16, 1)


def network(flat: bool) -> tf.keras.Model:
    layers = tf.keras.layers
    first = layers.Input(SHAPE, batch_size=1)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(first)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x))
    x = layers.ReLU()(layers.Add()([x, layers.Conv2D(16, 1)(x)]))
    x = layers.AveragePooling2D(2, padding="same", strides=1)(layers.MaxPooling2D(2)(x))
    x = layers.Conv2D(8, (3, 2), activation="relu")(x)
    x = layers.Flatten()(x) if flat else layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(5)(layers.Dense(12, activation="relu6")(x))
    return tf.keras.Model(first, layers.Softmax()(x))


def convert(model: tf.keras.Model, ends: tf.DType) -> bytes:
    rng = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.normal(size=(1, *SHAPE)).astype(np.float32)] for _ in range(20))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = ends
    return converter.convert()


if __name__ == "__main__":
    tf.keras.utils.set_random_seed(1)
    for name, flat, ends in (("int8", True, tf.int8), ("float_ends", False, tf.float32), ("uint8", False, tf.uint8)):
        with open(f"keras_{name}.tflite", "wb") as file:  # noqa: PTH123
            file.write(convert(network(flat), ends))
