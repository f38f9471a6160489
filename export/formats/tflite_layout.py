"""What may stand where in a .tflite: the fields of each table of TFLite's schema, as `tflite_structure` walks them.

A table's fields are listed by slot: `b h i q` is a number of 1, 2, 4 or 8 bytes, `s` a string, `[` a vector of what
follows, a name a table, `NAME?` the table of a union, whose kind is the byte in the slot before and whose choices
are in `UNIONS`, and `-` a slot that the schema has retired. Source: TensorFlow's schema.fbs, version 3.
"""

from __future__ import annotations

_CORE = {
    "Model": "i [OperatorCode [SubGraph s [Buffer [i [Metadata [SignatureDef [ExternalBufferGroup [ExternalBuffer",
    "OperatorCode": "b s i i",
    "SubGraph": "[Tensor [i [i [Operator s i",
    "Tensor": "[i b i s QuantizationParameters b SparsityParameters [i b [VariantSubType i",
    "QuantizationParameters": "[i [i [i [q b QuantizationDetails? i",
    "CustomQuantization": "[b",
    "BlockwiseQuantization": "i i i [i",
    "MultiAxisQuantization": "i i i [i",
    "SparsityParameters": "[i [i [DimensionMetadata",
    "DimensionMetadata": "b i b SparseIndexVector? b SparseIndexVector?",
    "Int32Vector": "[i",
    "Uint16Vector": "[h",
    "Uint8Vector": "[b",
    "VariantSubType": "[i b b",
    "Operator": "i [i [i b BuiltinOptions? [b b [b [i q q b BuiltinOptions2? i",
    "Buffer": "[b q q",
    "Metadata": "s i",
    "SignatureDef": "[TensorMap [TensorMap s - i",
    "TensorMap": "s i",
    "ExternalBufferGroup": "s",
    "ExternalBuffer": "i i q q s",
}

# Options of operators by their fields; an operator whose options have none is not listed.
_OPTIONS = {
    "- - b b": "ResizeBilinear",
    "[i": "Reshape Squeeze Bucketize StablehloCase",
    "[q": "StablehloBroadcastInDim StablehloDynamicSlice StablehloTranspose",
    "[q [q [q": "StablehloSlice StablehloPad",
    "[q [q [q [q [b q q [q q q [q q q [q q q [i": "StablehloConvolution",
    "[q [q [q [q [i": "StablehloDotGeneral",
    "[q [q [q [q [q i": "StablehloReduceWindow",
    "[q [q [q q [q b": "StablehloGather",
    "[q i": "StablehloReduce",
    "b": "LSHProjection L2Norm EmbeddingLookupSparse Mul Reducer Div ArgMax SparseToDense Shape ArgMin MirrorPad "
    "Unique Gelu StablehloRngBitGenerator",
    "b [q [q [q q b i": "StablehloScatter",
    "b b": "RNN Add Sub Cast ResizeNearestNeighbor Cumsum",
    "b b b": "SequenceRNN BatchMatMul",
    "b b b b": "BidirectionalSequenceRNN",
    "b b b b b [b": "FullyConnected",
    "b i i b b": "LSTM TransposeConv",
    "b i i b b b": "BidirectionalSequenceLSTM UnidirectionalSequenceLSTM",
    "b i i b i i b": "Conv2D",
    "b i i i b i i": "DepthwiseConv2D",
    "b i i i b i i i": "Conv3D",
    "b i i i i b": "Pool2D",
    "i": "Softmax Call SpaceToDepth Split OneHot LeakyRelu SplitV DepthToSpace CallOnce ReduceWindow",
    "i [i [i": "ConcatEmbeddings",
    "i b": "Concatenation",
    "i b b": "SVDF Hashtable",
    "i i": "Gather Pack Unpack ReverseSequence If While StablehloCompare StablehloWhile",
    "i i b": "SkipGram",
    "i i i b": "FakeQuant",
    "i i i i": "LocalResponseNormalization",
    "i i i i i b": "StridedSlice",
    "q": "StablehloConcatenate StablehloIota",
    "q b i": "StablehloSort",
    "q q": "Random",
    "s b s i [i [b": "StablehloCustomCall",
    "s i [b b i": "StableHLOComposite",
    "s s": "VarHandle",
}

#: Fields of each table by slot.
TABLES: dict[str, tuple[str, ...]] = {
    **{name: tuple(fields.split()) for name, fields in _CORE.items()},
    **{f"{name}Options": tuple(fields.split()) for fields, names in _OPTIONS.items() for name in names.split()},
}

#: Enumerations of the schema module that say which table a union holds; a table not in `TABLES` has no fields.
UNIONS = ("BuiltinOptions", "BuiltinOptions2", "QuantizationDetails", "SparseIndexVector")

#: Bytes of a number.
WIDTHS = {"b": 1, "h": 2, "i": 4, "q": 8}
